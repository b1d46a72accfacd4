"""What we rely on in Locust and its documentation does not promise. One test for each reliance."""

import argparse
import inspect
import logging
import subprocess
import sys
import time

import gevent
import locust
import pytest
from locust import LoadTestShape, User, argument_parser, constant, runners, task
from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerNode, WorkerNodes, WorkerRunner

from llmbench_locust import locust_seam
from tests.waiting import MOST_S, until


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


def test_statistics_of_long_ago_are_forgotten(environment):
    stats, now = environment.stats, int(time.time())
    stats.log_request("POST", "vllm", 10, 0)
    for entry in (stats.total, stats.get("vllm", "POST")):
        entry.start_time = now - 20_000
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            counts.update(dict.fromkeys(range(now - 20_000, now), 7))
    stats.history = [{"time": n} for n in range(20_000)]
    rps, fails = stats.total.current_rps, stats.total.current_fail_per_sec
    assert min(rps, fails) > 0
    locust_seam.forget_old(stats)
    assert (stats.total.current_rps, stats.total.current_fail_per_sec) == (rps, fails)
    assert len(stats.total.num_reqs_per_sec) == len(stats.total.num_fail_per_sec) == 600
    assert len(stats.get("vllm", "POST").num_reqs_per_sec) == 600
    assert len(stats.history) == 10_001
    assert (stats.history[0], stats.history[-1]) == ({"time": 0}, {"time": 19_999})


def test_greenlet_exit_out_of_test_start_spawns_nobody(environment):
    def refuse(**_):
        raise gevent.GreenletExit

    environment.events.test_start.add_listener(refuse)
    environment.runner.start(3, 3)
    environment.runner.spawning_greenlet.join(timeout=MOST_S)
    assert environment.runner.user_count == 0


def test_a_tick_may_last_as_long_as_the_test_and_start_the_users_itself(environment):
    class OneTick(LoadTestShape):
        def tick(self):
            self.runner.start(2, 2)
            until(lambda: self.runner.user_count == 2)
            self.users = self.runner.user_count

    shape = OneTick()
    shape.runner = environment.runner
    environment.shape_class = shape
    environment.parsed_options = argparse.Namespace(headless=False)
    environment.runner.start_shape()
    environment.runner.shape_greenlet.join(timeout=MOST_S)
    assert shape.users == 2
    assert (environment.runner.user_count, environment.runner.state) == (0, "stopped")


def test_a_stop_fires_test_stopping_then_ends_the_shape_then_fires_test_stop(environment):
    order, began = [], gevent.event.Event()

    class ForEver(LoadTestShape):
        def tick(self):
            began.set()
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
    assert began.wait(MOST_S)
    assert locust_seam.shape_goes_on(environment.runner)
    environment.runner.stop()
    assert not locust_seam.shape_goes_on(environment.runner)
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
    locust_seam.silence(options, level_asked_for=True)
    with caplog.at_level(logging.WARNING, "locust.runners"):
        environment.runner.start(1, 1000)
        environment.runner.spawning_greenlet.join(timeout=MOST_S)
    assert not [r for r in caplog.records if "spawn rate" in r.getMessage()]


def test_a_worker_makes_locusts_defaults_once(monkeypatch):
    made = []
    monkeypatch.setattr(argument_parser, "default_args_dict", lambda: made.append(1) or {})
    locust_seam.keep_defaults()
    for _ in range(3):
        assert argument_parser.default_args_dict() == {}
    assert made == [1]
    assert "argument_parser.default_args_dict()" in inspect.getsource(WorkerRunner.handle_message)


def test_a_runner_that_stops_names_its_caller_and_reads_no_source(environment, caplog, monkeypatch):
    assert inspect.getsource(runners).count("inspect.") == 2
    monkeypatch.setattr(runners, "inspect", inspect)  # put back afterwards
    locust_seam.stop_without_sources()
    monkeypatch.setattr(inspect, "findsource", None)
    environment.runner.start(1, 1)
    with caplog.at_level(logging.DEBUG, "locust.runners"):
        environment.runner.stop()
    assert f"called from {runners.__file__}:" in caplog.text


def test_headless_without_tables_is_only_summary():
    options = argparse.Namespace(headless=True, print_stats=False, only_summary=False)
    locust_seam.silence(options, level_asked_for=True)
    assert options.only_summary is True


def test_the_parser_tells_how_many_values_each_option_takes():
    options = locust_seam.option_values()
    assert (options["--headless"], options["--users"], options["--tags"]) == (0, None, "*")


def test_flags_of_locusts_form_are_those_that_locust_collects(monkeypatch):
    monkeypatch.setattr("sys.argv", ["locust"])
    locusts = argument_parser.ui_extra_args_dict
    monkeypatch.setattr(argument_parser, "ui_extra_args_dict", locusts)  # put back afterwards

    def add(parser, **_):
        add = parser.add_argument
        add("--own", default="x", help="Mine.", include_in_web_ui=True)
        add("--key", default="", help="Of a door.", is_secret=True, is_required=True)
        add(
            "--some",
            help="50%% of it.",
            choices=["a", "b"],
            is_multiple=True,
            default=["a"],
            nargs="*",
        )
        add("--hidden", include_in_web_ui=False)

    locust.events.init_command_line_parser.add_listener(add)
    try:
        rows = locust_seam.form_options()
        expected = locusts()
        for row in expected.values():
            row["help_text"] = row["help_text"].replace("%%", "%")
        assert rows == expected
        assert argument_parser.ui_extra_args_dict() is rows
    finally:
        locust.events.init_command_line_parser.remove_listener(add)
    assert {"own", "key", "some"} <= rows.keys()


def test_locusts_page_is_a_view_that_can_be_replaced_and_is_given_its_arguments(
    environment, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["locust"])
    web_ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    views = web_ui.app.view_functions
    assert {"locust.index", "locust.swarm", "locust.stop", "locust.request_stats"} <= views.keys()
    update = web_ui.update_template_args

    def with_ours():
        update()
        assert {"missing_host_warning", "override_host_warning"} <= web_ui.template_args.keys()
        web_ui.template_args["state"] = "of ours"

    web_ui.update_template_args = with_ours
    page = web_ui.app.test_client().get("/").text
    assert "window.templateArgs" in page
    assert '"state": "of ours"' in page
    assert web_ui.userclass_picker_is_active is False


def test_locust_is_imported_without_flask_and_has_it_when_a_web_page_is_wanted():
    code = """
from llmbench_locust.locust_import import import_locust
import sys
import_locust()
from importlib import metadata
from gevent import monkey
from locust.env import Environment
print({"flask", "jinja2"} & set(sys.modules), monkey.is_module_patched("socket"))
print(bool(metadata.entry_points(group="console_scripts")))
environment = Environment()
environment.create_local_runner()
page = environment.create_web_ui("127.0.0.1", 0, delayed_start=True).app.test_client().get("/")
print(page.status_code, sys.modules["locust.html"].get_html_report(environment)[:15])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set() True", "True", "200 <!DOCTYPE html>"]


def test_locusts_own_report_can_be_written_after_the_fast_import(tmp_path):
    """`main` calls both functions of `locust.html` by the names that it imported."""
    code = f"""
from llmbench_locust.locust_import import import_locust
import_locust()
from types import SimpleNamespace
from locust import main
from locust.env import Environment
name = r"{tmp_path}/of_{{u}}.html"
options = SimpleNamespace(html_file=name, num_users=3, spawn_rate=None, run_time=None)
main.process_html_filename(options)
environment = Environment()
environment.create_local_runner()
print(options.html_file[-9:], main.get_html_report(environment)[:15])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["of_3.html", "<!DOCTYPE", "html>"]
