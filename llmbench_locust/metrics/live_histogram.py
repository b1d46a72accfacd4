"""Latencies in logarithmic bins, for live statistics of millions of samples in constant memory.

120 bins per decade from 1 µs to 10,000 s, so that values are accurate to 1% and every fifth of a
decade is an edge (`bounds_ms`), up to which counts are exact. Values outside are in the first or
last bin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PER_DECADE = 120
LOW_MS = 1e-3
BINS = 10 * PER_DECADE
_LOW_LOG = -3.0

#: Geometric middle of each bin, ms; shape (BINS,).
MIDDLES_MS: NDArray[np.float64] = 10.0 ** (_LOW_LOG + (np.arange(BINS) + 0.5) / PER_DECADE)


def bins_of(values_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each value (ms, not NaN); values outside are in the first or last bin."""
    # The tiny shift puts a value that is an edge (1 ms, 10 ms) into the bin below it: Prometheus'
    # buckets are "less or equal".
    where = (np.log10(np.maximum(values_ms, LOW_MS)) - _LOW_LOG) * PER_DECADE - 1e-9
    return np.clip(where, 0, BINS - 1).astype(np.int64)


def percentiles(counts: NDArray[np.int64], wanted: Sequence[float]) -> list[float]:
    """numpy's linear percentiles (each in 0..100) of the bins, ms; NaN without samples."""
    cumulated = np.cumsum(counts)
    total = int(cumulated[-1])
    if total == 0:
        return [float("nan")] * len(wanted)
    ranks = np.asarray(wanted, np.float64) / 100.0 * (total - 1)
    below = np.floor(ranks)
    low = MIDDLES_MS[np.searchsorted(cumulated, below, side="right")]
    high = MIDDLES_MS[np.searchsorted(cumulated, np.minimum(below + 1, total - 1), side="right")]
    result: list[float] = (low + (high - low) * (ranks - below)).tolist()
    return result


def bounds_ms(
    per_decade: int = 5, low_ms: float = 0.1, high_ms: float = 1e6
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Upper bounds of a coarser histogram (ms), and the number of bins at or below each."""
    step = PER_DECADE // per_decade
    first = round((np.log10(low_ms) - _LOW_LOG) * PER_DECADE)
    last = round((np.log10(high_ms) - _LOW_LOG) * PER_DECADE)
    ends = np.arange(first, last + 1, step)
    return 10.0 ** (_LOW_LOG + ends / PER_DECADE), ends


class Samples:
    """One latency of a run: count, sum, extremes, bins; percentiles are within 1%."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_ms = 0.0
        self.square_ms = 0.0
        self.min_ms = float("inf")
        self.max_ms = float("-inf")
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, values_ms: NDArray[np.float64], bins: NDArray[np.int64]) -> None:
        """``bins``: `bins_of` the values."""
        if len(values_ms) == 0:
            return
        self.count += len(values_ms)
        self.sum_ms += float(values_ms.sum())
        self.square_ms += float(np.dot(values_ms, values_ms))
        self.min_ms = min(self.min_ms, float(values_ms.min()))
        self.max_ms = max(self.max_ms, float(values_ms.max()))
        self.counts += np.bincount(bins, minlength=BINS)

    def figures(self, wanted: Sequence[float]) -> dict[str, float]:
        """mean, median, std, max, the wanted percentiles ("p99"), ms; empty without samples."""
        if self.count == 0:
            return {}
        mean = self.sum_ms / self.count
        found = np.clip(percentiles(self.counts, [50.0, *wanted]), self.min_ms, self.max_ms)
        figures = {
            "mean": mean,
            "median": float(found[0]),
            "std": max(self.square_ms / self.count - mean * mean, 0.0) ** 0.5,
            "max": self.max_ms,
        }
        for q, value in zip(wanted, found[1:], strict=True):
            figures[f"p{q:g}"] = float(value)
        return figures
