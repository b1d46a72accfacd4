"""Tokens over time: tokens per event, tokens per hundredth of a second, gaps per token.

If a chunk has several tokens, events and tokens differ; the figures here count tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.histogram import SLICE, Histogram
from llmbench_locust.records import RecordColumns

#: Width of the bins in which tokens are counted over time.
BIN_S = 0.01

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def token_weights(columns: RecordColumns, lens: Ints | None = None) -> Ints | None:
    """Tokens of each event (int64, shape of ``token_times``); None if every event has one.

    As the server reported for each chunk. Otherwise, if a response has more tokens than events,
    they are distributed evenly, with the remainder in the first events. ``lens``: tokens of each
    response (int64, shape (n,)); None: by the server's count.
    """
    events, counts = np.diff(columns.token_offsets), columns.token_counts
    lens = columns.ints["output_len"] if lens is None else lens
    told = np.zeros(len(columns), np.bool_)
    if counts is not None:
        several = np.concatenate([[0], np.cumsum(counts != 1)])
        told = np.diff(several[columns.token_offsets]) > 0
    rows = np.flatnonzero((lens > events) & (events > 0) & ~told)
    if counts is None and not len(rows):
        return None
    weights = np.ones(len(columns.token_times), np.int64) if counts is None else counts.astype("i8")
    each, left = np.divmod(lens[rows], events[rows])
    for row, base, extra in zip(rows.tolist(), each.tolist(), left.tolist(), strict=True):
        begin, end = int(columns.token_offsets[row]), int(columns.token_offsets[row + 1])
        weights[begin:end] = base
        weights[begin : begin + extra] += 1
    return weights


class TokenBins:
    """Counts by hundredths of a second, in a growing array. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._first = 0
        self._counts: Ints = np.zeros(0, np.int64)

    def add(self, times_s: Floats, weights: Ints | None = None) -> None:
        for begin in range(0, len(times_s), SLICE):
            part = times_s[begin : begin + SLICE]
            some = None if weights is None else weights[begin : begin + SLICE]
            if not np.all(known := np.isfinite(part)):
                part, some = part[known], None if some is None else some[known]
            if not len(part):
                continue
            places = np.floor(part / BIN_S).astype(np.int64)
            low, high = int(places.min()), int(places.max())
            self._reach(low, high)
            found = np.bincount(places - low, weights=some).astype(np.int64)
            self._counts[low - self._first : low - self._first + len(found)] += found

    def merge(self, other: TokenBins) -> None:
        if len(other._counts):
            self._reach(other._first, other._first + len(other._counts) - 1)
            begin = other._first - self._first
            self._counts[begin : begin + len(other._counts)] += other._counts

    def _reach(self, low: int, high: int) -> None:
        if not len(self._counts):
            self._first, self._counts = low, np.zeros(high - low + 1, np.int64)
            return
        before = max(self._first - low, 0)
        after = max(high - (self._first + len(self._counts) - 1), 0)
        if before or after:
            # Twice the needed size, so that the array rarely grows.
            spare = len(self._counts) if after else 0
            self._counts = np.concatenate(
                [np.zeros(before, np.int64), self._counts, np.zeros(after + spare, np.int64)]
            )
            self._first -= before

    def middles(self) -> tuple[Floats, Ints]:
        """(middle in seconds, count) of each non-empty bin."""
        some = np.flatnonzero(self._counts)
        middles = (some + (self._first + 0.5)) * np.float64(BIN_S)
        return middles, self._counts[some]

    def peak(self, window_s: float = 1.0) -> int:
        """The maximum count in any window of that length, moved in steps of one bin."""
        width = round(window_s / BIN_S)
        upto = np.concatenate([[0], np.cumsum(self._counts)])
        if len(upto) <= width:
            return int(upto[-1])
        return int((upto[width:] - upto[:-width]).max())

    def between(self, begin_s: float, end_s: float) -> int:
        """Tokens in the bins whose middle is in the span."""
        first = max(math.ceil(begin_s / BIN_S - 0.5) - self._first, 0)
        last = max(math.ceil(end_s / BIN_S - 0.5) - self._first, 0)
        return int(self._counts[first:last].sum())


def per_token_gaps(
    columns: RecordColumns, rows: NDArray[np.bool_], weights: Ints | None
) -> Histogram:
    """Gaps per token of the chosen rows: k tokens after a gap g count as k gaps of g / k."""
    found = Histogram()
    times = columns.token_times
    inside = inner_events(columns, rows)
    for begin in range(1, len(times), SLICE):
        end = min(begin + SLICE, len(times))
        here = inside[begin:end]
        gaps = np.diff(times[begin - 1 : end])[here]
        if not len(gaps):
            continue
        if weights is None:
            found.add(gaps)
        else:
            carried = np.maximum(weights[begin:end][here], 1)
            found.add(gaps / carried, carried)
    return found


def inner_events(columns: RecordColumns, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether an event of the chosen rows ends a gap (bool, shape of token_times)."""
    events = np.diff(columns.token_offsets)
    inside = np.repeat(rows, events)
    inside[columns.token_offsets[:-1][events > 0]] = False
    return inside
