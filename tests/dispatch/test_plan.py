"""What is handed out to whom: each ticket once, in its order, within each worker's room."""

from __future__ import annotations

import time

import gevent
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.dispatch import coordinator as coordination
from llmbench_locust.dispatch.accounts import Accounts
from llmbench_locust.dispatch.backlog import BATCH, Listed, PlannedTickets, RunPlan
from llmbench_locust.dispatch.coordinator import Coordinator
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.workload.sample import SampleRequest
from tests.dispatch.crew import FakeCrew

ALWAYS = float("inf")


def plan_of(due_s: list[float], turns: int = 0) -> RunPlan:
    """Conversations of 1 + ``turns`` requests each."""

    def ticket(index: int, due: float, following: list[Ticket]) -> Ticket:
        return Ticket(index, due, SampleRequest("hello", 1, 1, f"r{index}"), following=following)

    size = 1 + turns
    heads = []
    for n, due in enumerate(sorted(due_s)):
        later = [ticket(n * size + k, float("nan"), []) for k in range(1, size)]
        heads.append(ticket(n * size, due, later))
    return RunPlan(Listed(heads), [])


def due_of(due_s: list[float], turns: int, index: int) -> float:
    """When the conversation of a request is due."""
    return sorted(due_s)[index // (1 + turns)]


def hand_out(
    planned: PlannedTickets, until_s: float, takers: list[int], room: dict[int, int]
) -> list[tuple[int, int]]:
    """(worker, index) in the order of delivery; every batch holds what was delivered to its
    worker.
    """
    delivered: list[tuple[int, int]] = []

    def deliver(number: int, indexes: list[int], weight: int) -> None:
        room[number] -= len(indexes)
        delivered.extend((number, index) for index in indexes)

    carried = []
    for number, batch in planned.batches(until_s, takers, lambda n: room[n] > 0, deliver):
        assert 0 < len(batch) <= BATCH
        carried += [
            (number, turn.index) for ticket in batch for turn in (ticket, *ticket.following)
        ]
    assert sorted(carried) == sorted(delivered)
    return delivered


@given(
    st.lists(st.floats(0, 100), max_size=40),
    st.integers(0, 3),
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.floats(0, 100),
)
def test_each_ticket_once_in_order_and_within_the_room(
    due_s: list[float], turns: int, room: list[int], until_s: float
) -> None:
    plan = plan_of(due_s, turns)
    planned = PlannedTickets(plan.tickets)
    takers = list(range(len(room)))
    first = hand_out(planned, until_s, takers, dict(enumerate(room)))
    assert len({index for _, index in first}) == len(first)
    assert all(due_of(due_s, turns, index) <= until_s for _, index in first)
    for number, space in enumerate(room):
        assert sum(1 for n, _ in first if n == number) <= max(0, space + turns), (
            "the last one may be a conversation"
        )
    heads = [index for _, index in first if index % (1 + turns) == 0]
    assert heads == sorted(heads)
    rest = hand_out(planned, ALWAYS, takers, dict.fromkeys(takers, 10_000))
    assert sorted(index for _, index in first + rest) == list(range(plan.tickets.total or 0))
    assert len(planned.clear()) == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.data())
def test_what_is_taken_back_is_handed_out_again_in_its_place(
    due_s: list[float], data: st.DataObject
) -> None:
    planned = PlannedTickets(plan_of(due_s, turns=1).tickets)
    first = hand_out(planned, float(np.median(due_s)), [0], {0: 10_000})
    conversations = sorted({index // 2 for _, index in first})
    back = data.draw(
        st.lists(st.sampled_from(conversations), unique=True) if conversations else st.just([])
    )
    planned.take_back(np.array([i for n in back for i in (2 * n, 2 * n + 1)], np.int64))
    again = [index for _, index in hand_out(planned, ALWAYS, [1], {1: 10_000})]
    assert sorted(again) == sorted(
        set(range(2 * len(due_s))) - {i for _, i in first if i // 2 not in back}
    )
    due = [due_of(due_s, 1, index) for index in again]
    assert due == sorted(due)


def test_what_is_left_is_told_and_handed_out_no_more() -> None:
    planned = PlannedTickets(plan_of([1.0, 2.0, 3.0], turns=1).tickets)
    hand_out(planned, 1.5, [0], {0: 10})
    assert planned.clear().tolist() == [2, 3, 4, 5]
    assert hand_out(planned, ALWAYS, [0], {0: 10}) == []


def test_the_end_of_a_long_plan_does_not_stall_the_loop() -> None:
    """To free the tickets of half a million requests takes half a second, in which the loop that
    reads the last responses would stand still.
    """
    accounts = Accounts(plan_of([float(k) for k in range(100_000)]), lambda columns: None)
    hand_out(accounts.tickets, 10.0, [0], {0: 100})
    began = time.process_time()
    accounts.cancel()
    cancelled = time.process_time()
    del accounts
    assert cancelled - began < (time.process_time() - cancelled) / 5  # usually a hundredth


def test_a_worker_that_comes_late_is_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three did not get ready and was forgotten: a fourth has a number of its own, and with
    it requests of its own.
    """
    monkeypatch.setattr(coordination, "READY_S", 0.1)
    crew = FakeCrew(["deaf", "b", "c"], deaf={"deaf"})
    plan = plan_of([0.0] * 5)
    plan.max_workers = 3
    coordinator = Coordinator(plan, crew, on_columns=lambda columns: None)
    crew.answer(coordinator)
    coordinator.prepare()
    assert set(coordinator.workers) == {"b", "c"}
    crew.ids = ["b", "c", "d"]
    coordinator.start()
    with gevent.Timeout(10.0):
        while "d" not in coordinator.workers or not coordinator.workers["d"].going:
            gevent.sleep(0.01)
    assert len({worker.number for worker in coordinator.workers.values()}) == 3
    coordinator.interrupt(0.1)


def test_a_worker_that_does_not_reach_the_server_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crew = FakeCrew(["a", "b"])  # neither opens a connection
    plan = plan_of([0.0])
    for plan.prewarm in (0, 4):
        coordinator = Coordinator(plan, crew, on_columns=lambda columns: None)
        crew.answer(coordinator)
        coordinator.prepare()
    assert [record.getMessage() for record in caplog.records] == [
        f"worker {worker} could not connect to the server" for worker in ("a", "b")
    ]


def test_a_worker_that_leaves_before_the_start_is_not_waited_for() -> None:
    crew = FakeCrew(["deaf", "b"], deaf={"deaf"})
    coordinator = Coordinator(plan_of([0.0]), crew, on_columns=lambda columns: None)
    crew.answer(coordinator)
    gevent.spawn_later(0.1, crew.ids.remove, "deaf")
    with gevent.Timeout(20.0):  # READY_S is 60
        coordinator.prepare()
    assert set(coordinator.workers) == {"b"}
