"""Did the server keep up with the load? Where it did not, no window of the run is steady."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from llmbench_locust.records import RecordColumns
from llmbench_locust.statistics.transients import grows

SAMPLES = 240
#: A trend over fewer requests, or over less time, says nothing.
LEAST_REQUESTS = 50
LEAST_S = 2.0


class Overload(TypedDict):
    """Of the time in which requests were due; rates per second."""

    offered: float
    completed: float
    growth: float


def overload(columns: RecordColumns) -> Overload | None:
    """What was seen of a server whose unanswered requests grow without end; None for any other.

    Unanswered is a request from its due time (its start, where it had none) to its end, so a cap on
    the client hides nothing. The trend test is `statistics.transients.grows`.
    """
    due, start, end = (columns.floats[n] for n in ("due_time", "start_time", "end_time"))
    began = np.where(np.isnan(due), start, due)
    known = ~np.isnan(began)
    if np.count_nonzero(known) < LEAST_REQUESTS:
        return None
    began = np.sort(began[known])
    ended = np.sort(end[~np.isnan(end)])
    length = float(began[-1] - began[0])
    if length < LEAST_S:
        return None
    moments = np.linspace(began[0], began[-1], SAMPLES)
    arrived = np.searchsorted(began, moments, side="right")
    done = np.searchsorted(ended, moments, side="right")
    unanswered = (arrived - done).astype(np.float64)
    offered = len(began) / length
    if not grows(unanswered, length / (SAMPLES - 1), offered):
        return None
    growth = float(np.polyfit(moments, unanswered, 1)[0])
    return {"offered": offered, "completed": float(done[-1]) / length, "growth": growth}


def overload_line(found: Overload) -> str:
    """One sentence for the console."""
    return (
        f"The server did not keep up: offered {found['offered']:.1f} req/s, completed "
        f"{found['completed']:.1f}, queue growing by {found['growth']:.1f} a second; latencies "
        "depend on how long the run is"
    )
