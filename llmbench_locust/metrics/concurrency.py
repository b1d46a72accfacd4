"""The exact number of requests in flight over time, by a sweep over starts and ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.records import RecordColumns

Floats = NDArray[np.float64]

#: A window shorter than this share of the run does not count: the load was never steady.
SHORTEST = 0.1


@dataclass(frozen=True, slots=True)
class Sweep:
    """``level[i]`` requests (int64) are in flight from ``time_s[i]`` (float64, sorted) to
    ``time_s[i + 1]``; shape (2 n,).
    """

    time_s: Floats
    level: NDArray[np.int64]

    @property
    def peak(self) -> int:
        return int(self.level.max()) if len(self.level) else 0

    def mean(self, begin_s: float, end_s: float) -> float:
        edges = np.clip(np.append(self.time_s, np.inf), begin_s, end_s)
        return float(np.dot(np.diff(edges), self.level) / (end_s - begin_s))


def sweep(columns: RecordColumns) -> Sweep:
    """Counts each request from start to end, including failed ones; ends precede starts."""
    start, end = columns.floats["start_time"], columns.floats["end_time"]
    there = ~np.isnan(start) & ~np.isnan(end)
    n = int(np.count_nonzero(there))
    times = np.concatenate([start[there], end[there]])
    change = np.repeat(np.array([1, -1], np.int64), n)
    # A request of zero duration begins before it ends.
    order = (
        np.lexsort((np.concatenate([np.zeros(n), start[there] < end[there]]) * -1, times))
        if n
        else np.empty(0, np.int64)
    )
    return Sweep(times[order], np.cumsum(change[order]))


def steady_window(columns: RecordColumns, found: Sweep) -> tuple[float, float] | None:
    """(begin, end) in seconds of the time when the load was neither rising nor draining; None if
    there was no such time.

    From the first time that the number of requests in flight reached its median over the run, to
    the last such time before the last request was sent.
    """
    if len(found.time_s) < 4:
        return None
    spans = np.append(np.diff(found.time_s), 0.0)
    total = float(spans.sum())
    order = np.argsort(found.level, kind="stable")
    middle = int(np.searchsorted(np.cumsum(spans[order]), total / 2))
    median = found.level[order[min(middle, len(order) - 1)]]
    high = np.flatnonzero((found.level >= median) & (spans > 0))
    if not len(high):
        return None
    begin = float(found.time_s[high[0]])
    end = min(
        float(found.time_s[high[-1]] + spans[high[-1]]),
        float(np.nanmax(columns.floats["start_time"])),
    )
    return (begin, end) if end - begin >= SHORTEST * total > 0 else None
