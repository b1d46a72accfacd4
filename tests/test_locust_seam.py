"""What we rely on in Locust and its documentation does not promise. One test for each reliance."""

import argparse
import logging

import gevent
import pytest
from locust import LoadTestShape, User, constant, task
from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerNode, WorkerNodes

from llmbench_locust import locust_seam


class Idle(User):
    wait_time = constant(0.1)

    @task
    def nothing(self):
        pass


@pytest.fixture
def environment():
    environment = Environment(user_classes=[Idle], events=Events())
    environment.create_local_runner()
    yield environment
    environment.runner.quit()


def test_an_event_tells_whether_anyone_listens():
    events = Events()
    assert not locust_seam.listened(events, "request")
    events.request.add_listener(lambda **_: None)
    assert locust_seam.listened(events, "request")
    assert not locust_seam.listened(events, "of_nobody")


def test_greenlet_exit_out_of_test_start_spawns_nobody(environment):
    def refuse(**_):
        raise gevent.GreenletExit

    environment.events.test_start.add_listener(refuse)
    environment.runner.start(3, 3)
    environment.runner.spawning_greenlet.join(timeout=10)
    assert environment.runner.user_count == 0


def test_a_tick_may_last_as_long_as_the_test_and_start_the_users_itself(environment):
    class OneTick(LoadTestShape):
        def tick(self):
            self.runner.start(2, 2)
            gevent.sleep(0.2)
            self.users = self.runner.user_count

    shape = OneTick()
    shape.runner = environment.runner
    environment.shape_class = shape
    environment.parsed_options = argparse.Namespace(headless=False)
    environment.runner.start_shape()
    environment.runner.shape_greenlet.join(timeout=10)
    assert shape.users == 2
    assert (environment.runner.user_count, environment.runner.state) == (0, "stopped")


def test_a_stop_fires_test_stopping_then_ends_the_shape_then_fires_test_stop(environment):
    order = []

    class ForEver(LoadTestShape):
        def tick(self):
            try:
                gevent.sleep(60)
            finally:
                order.append("shape")

    shape = ForEver()
    shape.runner = environment.runner
    environment.shape_class = shape
    environment.events.test_stopping.add_listener(lambda **_: order.append("stopping"))
    environment.events.test_stop.add_listener(lambda **_: order.append("stop"))
    environment.runner.start_shape()
    gevent.sleep(0.05)
    environment.runner.stop()
    assert order == ["stopping", "shape", "stop"]


def test_local_messages_are_handed_over_as_they_are(environment):
    got = []
    environment.runner.register_message("ours", lambda environment, msg, **_: got.append(msg))
    sent = object()
    environment.runner.send_message("ours", sent, "local")
    assert (got[0].type, got[0].data, got[0].node_id) == ("ours", sent, "local")


def test_workers_that_take_part_are_ready_spawning_or_running():
    runner = argparse.Namespace(clients=WorkerNodes())
    for state in ("ready", "spawning", "running", "missing", "stopped"):
        runner.clients[state] = WorkerNode(state, state=state)
    assert locust_seam.connected_workers(runner) == ["ready", "spawning", "running"]


def test_the_warning_of_many_users_at_once_is_not_logged(environment, caplog):
    options = argparse.Namespace(headless=False, print_stats=False, only_summary=False)
    locust_seam.hush(options, level_asked_for=True)
    with caplog.at_level(logging.WARNING, "locust.runners"):
        environment.runner.start(1, 1000)
        environment.runner.spawning_greenlet.join(timeout=10)
    assert not [r for r in caplog.records if "spawn rate" in r.getMessage()]


def test_headless_without_tables_is_only_summary():
    options = argparse.Namespace(headless=True, print_stats=False, only_summary=False)
    locust_seam.hush(options, level_asked_for=True)
    assert options.only_summary is True


def test_the_parser_tells_how_many_values_each_option_takes():
    options = locust_seam.option_values()
    assert (options["--headless"], options["--users"], options["--tags"]) == (0, None, "*")
