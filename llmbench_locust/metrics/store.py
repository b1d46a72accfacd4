"""All outcomes of a run, in columns, in bounded memory.

Token times are kept exactly up to a limit of events. Past it, the times of further requests are folded into what they are
needed for: first and last event stay, so that TTFT, E2EL and TPOT stay exact; gaps go into a histogram of at most 0.1%
relative error; token events by second into counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.latencies import gaps
from llmbench_locust.records import RecordColumns

_BASE = 1.0019  # the middle of a bucket is within 0.095% of all that is in it
_SMALLEST_S = 1e-6
_BUCKETS = int(np.ceil(np.log(1e5 / _SMALLEST_S) / np.log(_BASE)))


class GapHistogram:
    """Gaps in seconds, by buckets whose bounds grow by 0.19%."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(_BUCKETS + 1, np.int64)

    def add(self, seconds: NDArray[np.float64]) -> None:
        with np.errstate(divide="ignore"):
            place = np.log(np.maximum(seconds, _SMALLEST_S) / _SMALLEST_S) / np.log(_BASE)
        self.counts += np.bincount(np.clip(place.astype(np.int64), 0, _BUCKETS), minlength=_BUCKETS + 1)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def values(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(middle of each bucket that holds something, how many)."""
        some = np.flatnonzero(self.counts)
        middles = np.asarray(_SMALLEST_S * _BASE ** (some + 0.5), np.float64)
        return middles, self.counts[some]


#: Width of the bins in which folded token events are counted.
BIN_S = 0.01


class Folded:
    """What is left of the token events past the limit: their gaps, how many came in each 10 ms, and whose they were."""

    def __init__(self) -> None:
        self.gaps = GapHistogram()
        self.rows: set[int] = set()
        self.bins: dict[int, int] = {}
        self.events = 0

    def add(self, columns: RecordColumns) -> None:
        self.gaps.add(gaps(columns, columns.success)[0])
        ok = np.repeat(columns.success, np.diff(columns.token_offsets))
        places, counts = np.unique((columns.token_times[ok] / BIN_S).astype(np.int64), return_counts=True)
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            self.bins[place] = self.bins.get(place, 0) + count
        self.rows.update(columns.ints["index"].tolist())
        self.events += len(columns.token_times)

    def mask(self, columns: RecordColumns) -> NDArray[np.bool_]:
        """Which rows of ``columns`` were folded."""
        rows = np.fromiter(self.rows, np.int64, len(self.rows))
        return np.isin(columns.ints["index"], rows)


class RecordStore:
    """``max_exact_tokens``: token events whose times are kept. ``folded``: what lies past it, None while all is exact."""

    def __init__(self, max_exact_tokens: int = 20_000_000) -> None:
        self._limit = max_exact_tokens
        self._parts: list[RecordColumns] = []
        self._rows = 0
        self._seen: set[int] = set()
        self.tokens = 0
        self.folded: Folded | None = None

    def __len__(self) -> int:
        return self._rows

    def add(self, columns: RecordColumns) -> None:
        """More outcomes. A request that is there already is not taken again."""
        index = columns.ints["index"].tolist()
        fresh = [i for i, number in enumerate(index) if number not in self._seen]
        self._seen.update(index)
        if len(fresh) != len(index):
            columns = columns.take(np.array(fresh, np.int64))
        if not len(columns):
            return
        if self.tokens + len(columns.token_times) > self._limit:
            columns = self._fold(columns)
        self.tokens += len(columns.token_times)
        self._rows += len(columns)
        self._parts.append(columns)
        if len(self._parts) > 64:
            self._parts = [RecordColumns.concat(self._parts)]

    def columns(self) -> RecordColumns:
        """All outcomes in the order of the plan."""
        self._parts = [RecordColumns.concat(self._parts).sorted_by_index()]
        return self._parts[0]

    def _fold(self, columns: RecordColumns) -> RecordColumns:
        """The same rows with only the first and last event of each; their gaps go into the histogram."""
        if self.folded is None:
            self.folded = Folded()
        self.folded.add(columns)
        events = np.diff(columns.token_offsets)
        first, last = columns.token_offsets[:-1], columns.token_offsets[1:] - 1
        kept = np.minimum(events, 2)
        offsets = np.zeros(len(events) + 1, np.int64)
        np.cumsum(kept, out=offsets[1:])
        times = np.empty(int(offsets[-1]), np.float64)
        times[offsets[:-1][kept > 0]] = columns.token_times[first[kept > 0]]
        times[offsets[:-1][kept > 1] + 1] = columns.token_times[last[kept > 1]]
        columns.token_times, columns.token_offsets, columns.token_counts = times, offsets, None
        return columns
