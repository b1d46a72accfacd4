"""A server that falls behind is told from one that wanders: queues with a known truth."""

import numpy as np
import pytest

from llmbench_locust.metrics.overload import overload, overload_line
from llmbench_locust.records import RecordColumns, RequestRecord


def queue(rate, places, service_s, n, seed, cap=None):
    """M/D/c from empty: each request starts when it is due and ends when its place has served it;
    with ``cap`` the client holds back what is beyond it.
    """
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, n))
    end = np.zeros(n)
    start = np.zeros(n)
    for i in range(n):
        free = end[i - places] if i >= places else 0.0
        held = end[i - cap] if cap and i >= cap else 0.0
        start[i] = max(due[i], held)
        end[i] = max(start[i], free) + service_s
    return RecordColumns.from_records(
        [
            RequestRecord(i, success=True, due_time=due[i], start_time=start[i], end_time=end[i])
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("cap", [None, 8])
def test_a_server_that_falls_behind_is_seen_with_its_rates(cap):
    found = overload(queue(60, 8, 8 / 48, 3000, seed=1, cap=cap))  # carries 48 a second
    assert found["offered"] == pytest.approx(60, rel=0.1)
    assert found["completed"] == pytest.approx(48, rel=0.05)
    assert found["growth"] == pytest.approx(12, rel=0.3)
    assert overload_line(found).startswith("The server did not keep up: offered ")


def test_a_server_that_keeps_up_is_not_called_overloaded():
    called = [overload(queue(60, 8, 0.8 * 8 / 60, 3000, seed=s)) is not None for s in range(40)]
    assert sum(called) <= 3


def test_a_server_that_only_fills_up_is_not_called_overloaded():
    # A hundred requests at 40 a second that take 0.9 s each: 2.5 s, of which most is the fill-up.
    assert all(overload(queue(40, 200, 0.9, 100, seed=s)) is None for s in range(20))


def test_requests_whose_worker_was_lost_are_not_the_servers():
    rows = [
        RequestRecord(i, due_time=i / 20, start_time=i / 20, end_time=i / 20 + 0.1)
        if i < 150
        else RequestRecord(i, due_time=i / 20, error_kind="worker_lost")
        for i in range(600)
    ]
    assert overload(RecordColumns.from_records(rows)) is None


def test_a_growing_load_is_no_growing_queue():
    due = np.cumsum(1 / np.linspace(5, 60, 900))
    rows = [
        RequestRecord(i, success=True, due_time=t, start_time=t, end_time=t + 0.5)
        for i, t in enumerate(due)
    ]
    assert overload(RecordColumns.from_records(rows)) is None


def test_a_burst_a_short_run_and_a_closed_loop_say_nothing():
    assert overload(queue(1e6, 8, 0.1, 500, seed=0)) is None
    assert overload(queue(60, 8, 0.1, 20, seed=0)) is None
    # Users that ask again when they are answered: as many are unanswered as there are users.
    rows = [
        RequestRecord(i, success=True, start_time=i // 8 * 0.5, end_time=i // 8 * 0.5 + 0.5)
        for i in range(400)
    ]
    assert overload(RecordColumns.from_records(rows)) is None
