"""Figures of whole sessions: requests that wait for one another. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.records import RecordColumns


@dataclass(frozen=True, slots=True)
class Sessions:
    """``duration_s``: from the first send to the last response, of sessions whose requests all
    succeeded (float64). ``window_s``: seconds of perf_counter until which no session had ended
    without another one to start: later, the load falls.
    """

    count: int
    turns_mean: float
    duration_s: NDArray[np.float64]
    window_s: float


def sessions(columns: RecordColumns) -> Sessions | None:
    """None for a run without sessions. A session is incomplete when a turn failed and
    those after it were never sent.
    """
    rows = np.flatnonzero(columns.ints["conversation"] >= 0)
    sent = np.isfinite(columns.floats["start_time"][rows])
    if not np.any(sent):
        return None
    _, place = np.unique(columns.ints["conversation"][rows], return_inverse=True)
    count = int(place.max()) + 1
    began, ended = np.full(count, np.inf), np.full(count, -np.inf)
    np.fmin.at(began, place, columns.floats["start_time"][rows])
    np.fmax.at(ended, place, columns.floats["end_time"][rows])
    whole = np.ones(count, np.bool_)
    np.logical_and.at(whole, place, columns.success[rows])
    begun = np.isfinite(began)
    late = ended[ended > began[begun].max()]
    return Sessions(
        count,
        np.count_nonzero(sent) / np.count_nonzero(begun),
        (ended - began)[whole],
        float(late.min()) if len(late) else float(ended.max()),
    )


def context_bucket(tokens: int) -> str:
    """The power of two that a prompt's length does not exceed, from 1024 on."""
    return str(max(1024, 1 << (tokens - 1).bit_length())) if tokens > 0 else ""
