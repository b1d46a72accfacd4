"""The wheel on real time, on both of its timers: in order, never early, and a failing callback
stops nobody else.
"""

from __future__ import annotations

import time

import gevent
import pytest

from llmbench_locust.simulator.engine.wheel import Wheel
from tests.waiting import until


@pytest.mark.parametrize("exact", [True, False])
def test_in_order_and_never_early(exact: bool) -> None:
    wheel = Wheel(exact)
    start = time.monotonic()
    fired: list[tuple[float, float]] = []

    def note(due: float) -> None:
        fired.append((due, time.monotonic()))

    offsets = [0.05, 0.01, 0.03, 0.0302, 0.0, 0.03, -1.0]
    for offset in offsets:
        wheel.at(start + offset, note)
    until(lambda: len(fired) == len(offsets))
    assert [due for due, _ in fired] == sorted(start + offset for offset in offsets)
    assert all(at >= due for due, at in fired)
    assert wheel.lateness()["events"] == len(offsets)


@pytest.mark.parametrize("exact", [True, False])
def test_a_callback_schedules_the_next_and_an_idle_wheel_wakes_again(exact: bool) -> None:
    wheel = Wheel(exact)
    start = time.monotonic()
    fired: list[float] = []

    def step(due: float) -> None:
        fired.append(due)
        if len(fired) % 3:
            wheel.at(due + 0.01, step)

    wheel.at(start + 0.01, step)
    until(lambda: len(fired) == 3)
    gevent.sleep(0.02)  # nothing is armed
    assert fired == pytest.approx([start + 0.01, start + 0.02, start + 0.03])
    later = time.monotonic()
    wheel.at(later + 0.1, step)
    wheel.at(later + 0.09, step)  # an earlier one, when a later one is armed
    until(lambda: len(fired) >= 5)
    assert fired[3:5] == pytest.approx([later + 0.09, later + 0.1])


def test_a_failing_callback_stops_nobody_else(capfd: pytest.CaptureFixture[str]) -> None:
    wheel = Wheel()
    fired: list[float] = []

    def fail(due: float) -> None:
        raise ValueError("mine alone")

    wheel.at(time.monotonic() + 0.01, fail)
    wheel.at(time.monotonic() + 0.011, fired.append)
    until(lambda: fired)
    assert len(fired) == 1
    assert "mine alone" in capfd.readouterr().err
