"""Upper bounds of percentiles with 99% confidence, by the rule of MLPerf's LoadGen. Pure.

Source: mlcommons/inference, loadgen/early_stopping.cc: with t of n values above a limit, the limit
bounds the p-th percentile if P(Bin(n, 1 − p) ≤ t) ≤ 1 − confidence. Assumes independent requests;
see docs/validity.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.distributions import binomial_cdf

CONFIDENCE = 0.99


def certified(values: NDArray[np.float64], p: float) -> float | None:
    """One of ``values`` that bounds the ``p``-th percentile (0 to 100) from above with at least 99%
    confidence: LoadGen's, which is one above the smallest that does. None for too few values.
    """
    n, q = len(values), 1 - p / 100
    if not n or not 0 < q < 1:
        return None
    chances = binomial_cdf(n, q, min(n, int(n * q) + 1))[1:]
    t = int(np.count_nonzero(chances <= 1 - CONFIDENCE))
    return float(np.partition(values, n - t)[n - t]) if 0 < t <= n else None


def least_samples(p: float) -> int:
    """The smallest n for which `certified` has a value (P90: 64, P99: 662); 0 for P100."""
    if not 0 < 1 - p / 100 < 1:
        return 0
    low, high = 1, 2
    while not _is_enough(high, p):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_enough(middle, p) else (middle, high)
    return high


def _is_enough(n: int, p: float) -> bool:
    return float(binomial_cdf(n, 1 - p / 100, 1)[1]) <= 1 - CONFIDENCE
