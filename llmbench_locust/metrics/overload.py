"""Detects whether the server kept up with the load. If not, no part of the run is steady."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.records import RecordColumns
from llmbench_locust.statistics.transients import grows

SAMPLES = 240
#: A trend over fewer requests, or over less time, is meaningless.
LEAST_REQUESTS = 50
LEAST_S = 2.0
#: After the fill-up, the run must last this many times as long.
FILL_UPS = 2.0
GROWING_LOAD = 1.3

Floats = NDArray[np.float64]


class Overload(TypedDict):
    """Over the time in which requests were due; rates per second."""

    offered: float
    completed: float
    growth: float


def overload(columns: RecordColumns) -> Overload | None:
    """Figures of a server whose number of unanswered requests keeps growing; None for any other.

    A request is unanswered from its due time (its start, if it had none) to its end, so that a
    concurrency limit hides nothing. The trend test is `statistics.transients.grows`.
    """
    due, start, end = (columns.floats[n] for n in ("due_time", "start_time", "end_time"))
    began = np.where(np.isnan(due), start, due)
    known = ~np.isnan(began) & ~np.isnan(end)  # without an end, its worker was lost
    if np.count_nonzero(known) < LEAST_REQUESTS:
        return None
    order = np.flatnonzero(known)[np.argsort(began[known])]
    began, took = began[order], (end - began)[order]
    ended = np.sort(end[known])
    begin, last = float(began[0]) + _fill_up_s(took), float(began[-1])
    length = last - begin
    if length < LEAST_S or length < FILL_UPS * _fill_up_s(took) or _load_grows(began, begin):
        return None
    moments = np.linspace(begin, last, SAMPLES)
    arrived = np.searchsorted(began, moments, side="right")
    done = np.searchsorted(ended, moments, side="right")
    unanswered = (arrived - done).astype(np.float64)
    offered = float(arrived[-1] - arrived[0]) / length
    if not grows(unanswered, length / (SAMPLES - 1), offered):
        return None
    growth = float(np.polyfit(moments, unanswered, 1)[0])
    completed = float(done[-1] - done[0]) / length
    return {"offered": offered, "completed": completed, "growth": growth}


def _fill_up_s(took: Floats) -> float:
    """The time to fill up an empty server: twice the latency of the first tenth."""
    first = took[: max(5, len(took) // 10)]
    known = first[~np.isnan(first)]
    return 2 * float(np.median(known)) if len(known) else 0.0


def _load_grows(began: Floats, begin: float) -> bool:
    """Whether more requests arrive in the second half (a ramp, a trace), so a queue may grow."""
    middle = (begin + float(began[-1])) / 2
    earlier = np.count_nonzero((began >= begin) & (began < middle))
    return int(np.count_nonzero(began >= middle)) > GROWING_LOAD * max(1, int(earlier))


def overload_line(found: Overload) -> str:
    """One sentence for the console."""
    return (
        f"The server did not keep up: offered {found['offered']:.1f} req/s, completed "
        f"{found['completed']:.1f}, queue growing by {found['growth']:.1f} a second; latencies "
        "depend on how long the run is"
    )
