"""The steered collector: frees others' cycles while a run goes on, and never looks at all that
exists.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.dispatch import collector as module
from llmbench_locust.dispatch.collector import (
    AIM_S,
    LONGEST_S,
    SHORTEST_S,
    SteeredCollector,
    next_pause_s,
)
from llmbench_locust.transport.gaps import Gaps
from tests.waiting import until


class Node:
    other: Any


def cycle() -> weakref.ref[Node]:
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


@pytest.fixture
def steered() -> Iterator[SteeredCollector]:
    one = SteeredCollector(Gaps())
    yield one
    one.close()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_cycles_go_and_python_itself_does_not_collect(steered: SteeredCollector) -> None:
    assert not gc.isenabled()
    full = gc.get_stats()[2]["collections"]
    dropped = [cycle() for _ in range(1000)]
    until(lambda: not any(ref() for ref in dropped))
    assert gc.get_stats()[2]["collections"] == full


def test_what_was_there_before_is_not_looked_at() -> None:
    before = [[] for _ in range(50_000)]
    one = SteeredCollector(Gaps())
    try:
        assert gc.get_freeze_count() > len(before)
    finally:
        one.close()


def test_a_burst_is_taken_for_what_stays(steered: SteeredCollector) -> None:
    frozen = gc.get_freeze_count()
    burst = [[] for _ in range(3 * module.BURST)]
    until(lambda: gc.get_freeze_count() >= frozen + len(burst))


def test_cycles_that_lived_longer_go_when_the_process_grows(
    steered: SteeredCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Node(), Node()
    one.other, two.other = two, one
    kept = weakref.ref(one)
    young = gc.get_stats()[0]["collections"]
    until(lambda: gc.get_stats()[0]["collections"] > young + 1)
    del one, two
    young = gc.get_stats()[0]["collections"]
    until(lambda: gc.get_stats()[0]["collections"] > young + 1)
    assert kept() is not None, "out of the youngest's reach"
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    monkeypatch.setattr(module, "_peak_size", lambda: 1 << 60)
    until(lambda: kept() is None)


@given(st.floats(SHORTEST_S, LONGEST_S), st.floats(0.0, 10.0))
def test_the_pause_is_bounded_and_follows_the_work(pause_s: float, took_s: float) -> None:
    following = next_pause_s(pause_s, took_s)
    assert SHORTEST_S <= following <= LONGEST_S
    if took_s > AIM_S:
        assert following <= pause_s
    if took_s < AIM_S:
        assert following >= pause_s
