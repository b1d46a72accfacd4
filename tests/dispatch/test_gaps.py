"""What is not urgent waits for a gap of the schedule, and not for ever."""

from __future__ import annotations

from time import perf_counter

import gevent
import pytest

from llmbench_locust.dispatch.dispatcher import Dispatcher
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.transport import gaps as module
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.sample import SampleRequest


def tickets(*due_s: float) -> list[Ticket]:
    return [Ticket(i, due, SampleRequest(str(i), "hello", 1)) for i, due in enumerate(due_s)]


def test_at_once_where_nothing_is_due() -> None:
    turns = []
    gevent.spawn(turns.append, "another had its turn")
    Gaps().wait(10.0)
    soon = Gaps()
    soon.next_s = perf_counter() + 60.0
    soon.wait(10.0)
    assert turns == []
    gevent.sleep(0)


def test_waits_until_the_next_send_is_far_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    one = Gaps()
    one.next_s = perf_counter() + 0.001
    told = []

    def sent() -> None:
        told.append("sent")
        one.next_s = perf_counter() + 60.0

    gevent.spawn_later(0.02, sent)
    one.wait(5.0)
    told.append("went on")
    assert told == ["sent", "went on"]


def test_goes_on_where_no_gap_comes() -> None:
    one = Gaps()
    one.next_s = perf_counter()  # and never moves
    with gevent.Timeout(10.0):
        one.wait(1.0)


def test_the_dispatcher_tells_when_it_sends_next() -> None:
    done = []
    gaps = Gaps()
    dispatcher = Dispatcher(
        lambda ticket, due, user: done.append(ticket.index), permits=None, gaps=gaps
    )
    assert gaps.next_s == float("inf")
    dispatcher.add(tickets(0.0, 30.0))
    start_s = perf_counter()
    dispatcher.lease(start_s + 60.0)
    dispatcher.go(start_s)
    assert gaps.next_s == start_s
    with gevent.Timeout(10.0):
        while not done or gaps.next_s == start_s:
            gevent.sleep(0.001)
    assert gaps.next_s == pytest.approx(start_s + 30.0)
    assert dispatcher.close() == [1]
    assert gaps.next_s == float("inf")


@pytest.mark.parametrize(
    ("permits", "following", "awaited"),
    [(None, False, False), (2, False, True), (None, True, True)],
    ids=["a rate alone", "a cap", "sessions"],
)
def test_the_dispatcher_tells_whether_something_waits_for_an_end(permits, following, awaited):
    gaps = Gaps()
    dispatcher = Dispatcher(lambda *_: None, permits=permits, gaps=gaps)
    first, second = tickets(30.0, float("nan"))
    first.following = [second] if following else []
    dispatcher.add([first])
    assert gaps.ends_awaited is awaited
    dispatcher.close()
    assert gaps.ends_awaited  # until the next run
