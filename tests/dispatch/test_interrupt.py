"""Breaking a run off: whoever reports must see every request accounted for, whichever way the end
came.
"""

from time import perf_counter

import gevent

from llmbench_locust.dispatch.backlog import Listed, RunPlan
from llmbench_locust.dispatch.coordinator import Coordinator
from llmbench_locust.dispatch.messages import Pong, Tickets, encode
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.transport.decoding import DecodeLoop
from llmbench_locust.transport.reader import StreamReader
from llmbench_locust.workload.sample import SampleRequest
from tests.dispatch.crew import FakeCrew
from tests.waiting import MOST_S


def coordinator_of_a_silent_worker(outcomes):
    """A worker that gets ready, takes its tickets, and says nothing more."""
    crew = FakeCrew(["w"])
    tickets = [Ticket(i, 0.0, SampleRequest("x", 1, 1, f"r{i}")) for i in range(7)]
    coordinator = Coordinator(
        RunPlan(Listed(tickets), []), crew, on_columns=lambda c: outcomes.append(len(c))
    )
    crew.answer(coordinator)
    coordinator.prepare()
    coordinator.start()
    gevent.sleep(0.2)
    return coordinator


def test_the_run_is_not_done_before_every_request_is_accounted_for():
    outcomes = []
    coordinator = coordinator_of_a_silent_worker(outcomes)
    seen = []

    def second_to_come():
        gevent.sleep(0.1)
        assert not coordinator.done.is_set()
        coordinator.interrupt(2)
        seen.append(sum(outcomes) + coordinator.ledger.never_count)

    second = gevent.spawn(second_to_come)
    coordinator.interrupt(2)
    second.get(timeout=MOST_S)
    assert coordinator.done.is_set()
    assert seen == [7]


def test_the_permits_of_a_lost_worker_reach_one_that_had_none():
    crew = FakeCrew(["a", "b"])
    tickets = [Ticket(i, 0.0, SampleRequest("x", 1, 1, f"r{i}")) for i in range(30)]
    coordinator = Coordinator(RunPlan(Listed(tickets), [], cap=1), crew, on_columns=lambda c: None)
    crew.answer(coordinator)
    coordinator.prepare()
    coordinator.start()
    crew.ids.remove("a")  # it had the only permit
    deadline = perf_counter() + 30
    while not any(w == "b" and isinstance(m, Tickets) for w, m in crew.told):
        assert perf_counter() < deadline, "no ticket goes to the worker that is left"
        alive = Pong(coordinator.id, 0.0, perf_counter())
        coordinator.receive(alive.kind, encode(alive), "b")
        gevent.sleep(0.05)
    coordinator.interrupt(0.1)


class BreaksDown(Listed):
    """A supply with an error of our own, which shows once the run goes on."""

    started = False

    def ready(self):
        if self.started:
            raise RuntimeError("on purpose")
        return super().ready()


def test_an_error_of_our_own_ends_the_run():
    crew, outcomes = FakeCrew(["w"]), []
    supply = BreaksDown([Ticket(0, 0.0, SampleRequest("x", 1, 1, "r0"))])
    coordinator = Coordinator(
        RunPlan(supply, []), crew, on_columns=lambda c: outcomes.append(len(c))
    )
    crew.answer(coordinator)
    coordinator.prepare()
    supply.started = True
    coordinator.start()
    assert coordinator.done.wait(30)
    assert sum(outcomes) + coordinator.ledger.never_count == 1


def test_a_turn_that_was_due_finds_no_closed_descriptor():
    for _ in range(20):
        reader = StreamReader()
        loop = DecodeLoop(reader)
        gevent.sleep(0.001)
        # It is due to run again, as it is whenever something arrived, when the run is broken off.
        gevent.get_hub().loop.run_callback(loop._greenlet.switch, None)
        loop.close()
        reader.close()
        gevent.sleep(0.001)
        assert loop._greenlet.dead
        assert not isinstance(loop._greenlet.exception, ValueError)
