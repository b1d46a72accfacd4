"""A histogram with values accurate to 0.1%, for any number of samples in constant memory.

Buckets grow by 0.19%: the geometric middle of a bucket is within 0.095% of its values. Count, sum
and extremes are exact. Histograms merge by addition, and merging parts equals counting the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json

GROWTH = 1.0019
SMALLEST_S = 1e-9  # the clock's resolution: smaller values are 0
LARGEST_S = 1e6
BUCKETS = math.ceil(math.log(LARGEST_S / SMALLEST_S) / math.log(GROWTH))
#: Samples counted at a time, which limits the memory use.
SLICE = 1_000_000

Floats = NDArray[np.float64]
_NUMBERS = ("total", "sum_s", "square_s2", "min_s", "max_s")


class Histogram:
    """Of non-negative seconds. Bucket 0 holds values below 1 ns, the last those above 11 days."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BUCKETS + 2, np.int64)
        self.total = 0
        self.sum_s = 0.0
        self.square_s2 = 0.0
        self.min_s = math.inf
        self.max_s = -math.inf

    def add(self, seconds: Floats, weights: NDArray[np.int64] | None = None) -> None:
        """Add samples (float64, shape (n,)), ``weights`` times each (int64, (n,); None: 1)."""
        for begin in range(0, len(seconds), SLICE):
            part = seconds[begin : begin + SLICE]
            self._add(part, None if weights is None else weights[begin : begin + SLICE])

    def _add(self, seconds: Floats, weights: NDArray[np.int64] | None) -> None:
        places = np.log(np.maximum(seconds, SMALLEST_S) / SMALLEST_S) / math.log(GROWTH)
        buckets = np.where(
            seconds < SMALLEST_S, 0, np.minimum(places.astype(np.int64), BUCKETS) + 1
        )
        if weights is None:
            self.counts += np.bincount(buckets, minlength=BUCKETS + 2)
            self.total += len(seconds)
            self.sum_s += float(seconds.sum())
            self.square_s2 += float(np.dot(seconds, seconds))
        else:
            self.counts += np.bincount(buckets, weights=weights, minlength=BUCKETS + 2).astype(
                np.int64
            )
            self.total += int(weights.sum())
            self.sum_s += float(np.dot(seconds, weights))
            self.square_s2 += float(np.dot(seconds * seconds, weights))
        self.min_s = min(self.min_s, float(seconds.min()))
        self.max_s = max(self.max_s, float(seconds.max()))

    def merge(self, other: Histogram) -> None:
        self.counts += other.counts
        self.total += other.total
        self.sum_s += other.sum_s
        self.square_s2 += other.square_s2
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)

    def copy(self) -> Histogram:
        new = Histogram()
        new.merge(self)
        return new

    def samples(self) -> tuple[Floats, NDArray[np.int64]]:
        """Values within 0.1% of those that were added, in ascending order (float64, shape (n,)),
        and how often each (int64, shape (n,)).
        """
        places = np.flatnonzero(self.counts)
        return self._values(places), self.counts[places]

    def to_message(self) -> Json:
        """A form for msgpack without empty buckets."""
        places = np.flatnonzero(self.counts)
        return {
            "places": places.tobytes(),
            "counts": self.counts[places].tobytes(),
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    @classmethod
    def from_message(cls, message: Json) -> Histogram:
        new = cls()
        places = np.frombuffer(message["places"], np.int64)
        new.counts[places] = np.frombuffer(message["counts"], np.int64)
        for name in _NUMBERS:
            setattr(new, name, message[name])
        return new

    @property
    def mean_s(self) -> float:
        """NaN without samples."""
        return self.sum_s / self.total if self.total else math.nan

    @property
    def std_s(self) -> float:
        """Population standard deviation, numpy's default; NaN without samples."""
        return (
            math.sqrt(max(self.square_s2 / self.total - self.mean_s**2, 0.0))
            if self.total
            else math.nan
        )

    def percentiles(self, wanted: Sequence[float]) -> list[float]:
        """numpy's linear percentiles (each in 0..100) in seconds, within 0.1%; NaN without
        samples.
        """
        if not self.total:
            return [math.nan] * len(wanted)
        upto = np.cumsum(self.counts)
        # numpy's rule: between the order statistics around p/100 · (n − 1).
        at = np.asarray(wanted, np.float64) / 100 * (self.total - 1)
        low = self._values(np.searchsorted(upto, np.floor(at), side="right"))
        high = self._values(np.searchsorted(upto, np.ceil(at), side="right"))
        found: list[float] = (low + (high - low) * (at - np.floor(at))).tolist()
        return found

    def _values(self, buckets: NDArray[np.int64]) -> Floats:
        middles = np.where(buckets == 0, 0.0, SMALLEST_S * GROWTH ** (buckets - 0.5))
        return np.clip(middles, self.min_s, self.max_s)
