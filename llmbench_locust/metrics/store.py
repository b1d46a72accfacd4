"""All outcomes of a run, in columns, in bounded memory.

Token times are kept exactly up to a limit of events. Beyond it, those of further requests are
aggregated: first and last event are kept, so that TTFT, E2EL and TPOT stay exact; gaps go into a
histogram with a relative error of at most 0.1%; events and tokens are counted by hundredths of a
second.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.metrics.tokens import TokenBins, inner_events, per_token_gaps, token_weights
from llmbench_locust.records import RecordColumns, offsets_of

#: This many small reports, or reports with this many events, are joined into a block. A block is
#: not copied again until the end of the run, so that joining never blocks the loop for long.
PARTS = 64
BLOCK_TOKENS = 250_000


class Folded:
    """Aggregated token events beyond the limit, of successful requests."""

    def __init__(self) -> None:
        self.gaps = Histogram()
        self.token_gaps = Histogram()
        self.event_bins = TokenBins()
        self.token_bins = TokenBins()
        self.events = 0
        self._rows: list[NDArray[np.int64]] = []

    def add(self, columns: RecordColumns) -> None:
        weights = token_weights(columns)
        inside = inner_events(columns, columns.success)
        if len(columns.token_times) > 1:
            self.gaps.add(np.diff(columns.token_times)[inside[1:]])
        self.token_gaps.merge(per_token_gaps(columns, columns.success, weights))
        ok = np.repeat(columns.success, np.diff(columns.token_offsets))
        self.event_bins.add(columns.token_times[ok])
        self.token_bins.add(columns.token_times[ok], None if weights is None else weights[ok])
        self._rows.append(columns.ints["index"].copy())
        self.events += len(columns.token_times)

    def mask(self, columns: RecordColumns) -> NDArray[np.bool_]:
        if len(self._rows) > 1:
            self._rows = [np.concatenate(self._rows)]
        return np.isin(columns.ints["index"], self._rows[0] if self._rows else ())


class RecordStore:
    """``max_exact_tokens``: events to keep exactly. ``folded``: the rest, None if exact."""

    def __init__(self, max_exact_tokens: int = 20_000_000) -> None:
        self._limit = max_exact_tokens
        self._blocks: list[RecordColumns] = []
        self._parts: list[RecordColumns] = []
        self._part_tokens = 0
        self._rows = 0
        self._seen: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self.tokens = 0
        self.folded: Folded | None = None

    def __len__(self) -> int:
        return self._rows

    def add(self, columns: RecordColumns) -> int:
        """Add outcomes, which must not be changed afterwards. Requests that are there already are
        skipped.

        Returns how many were added.
        """
        fresh = self._fresh(columns.ints["index"])
        if len(fresh) != len(columns):
            columns = columns.take(fresh)
        if not len(columns):
            return 0
        if self.tokens + len(columns.token_times) > self._limit:
            columns = self._fold(columns)
        else:
            self.tokens += len(columns.token_times)
        self._rows += len(columns)
        self._parts.append(columns)
        self._part_tokens += len(columns.token_times)
        if len(self._parts) >= PARTS or self._part_tokens >= BLOCK_TOKENS:
            self._blocks.append(RecordColumns.concat(self._parts))
            self._parts, self._part_tokens = [], 0
        return len(columns)

    def columns(self) -> RecordColumns:
        whole = RecordColumns.concat([*self._blocks, *self._parts])
        self._parts, self._part_tokens = [], 0
        self._blocks = [whole]  # before sorting, so that the parts are freed
        self._blocks = [whole.sorted_by_index()]
        return self._blocks[0]

    def _fresh(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows with a new index, each index once."""
        if not len(index):
            return np.empty(0, np.int64)
        if (most := int(index.max())) >= len(self._seen):
            self._seen = np.concatenate(
                [self._seen, np.zeros(max(most + 1 - len(self._seen), len(self._seen)), np.bool_)]
            )
        first = np.unique(index, return_index=True)[1]
        rows = np.sort(first[~self._seen[index[first]]]).astype(np.int64)
        self._seen[index] = True
        return rows

    def _fold(self, columns: RecordColumns) -> RecordColumns:
        """The same rows with only the first and last event of each; the others are aggregated."""
        if self.folded is None:
            self.folded = Folded()
        self.folded.add(columns)
        events = np.diff(columns.token_offsets)
        first, last = columns.token_offsets[:-1], columns.token_offsets[1:] - 1
        kept = np.minimum(events, 2)
        offsets = offsets_of(kept)
        times = np.empty(int(offsets[-1]), np.float64)
        times[offsets[:-1][kept > 0]] = columns.token_times[first[kept > 0]]
        times[offsets[:-1][kept > 1] + 1] = columns.token_times[last[kept > 1]]
        return replace(columns, token_times=times, token_offsets=offsets, token_counts=None)
