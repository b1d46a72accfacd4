"""Percentiles that hold with 99% confidence, by the rule of MLPerf's LoadGen. Pure.

Source: mlcommons/inference, loadgen/early_stopping.cc: with t of n values above a limit, the limit
bounds the p-th percentile when P(Bin(n, 1 − p) ≤ t) ≤ 1 − confidence. Requests count as
independent; see docs/validity.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.99


def certified(values: NDArray[np.float64], p: float) -> float | None:
    """The smallest of ``values`` that bounds the ``p``-th percentile (0 to 100) from above with
    99% confidence; None for too few values.
    """
    from scipy.special import bdtr

    n = len(values)
    discarded = np.arange(1, int(n * (1 - p / 100)) + 2)
    t = int(np.count_nonzero(bdtr(discarded, n, 1 - p / 100) <= 1 - CONFIDENCE))
    return float(np.partition(values, n - t)[n - t]) if 0 < t <= n else None


def least_samples(p: float) -> int:
    """The smallest n of which `certified` has a value (P90: 64, P99: 662); 0 for P100."""
    from scipy.special import bdtr

    if not 0 < p < 100:
        return 0
    low, high = 1, 2
    while bdtr(1, high, 1 - p / 100) > 1 - CONFIDENCE:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = bdtr(1, middle, 1 - p / 100) <= 1 - CONFIDENCE
        low, high = (low, middle) if enough else (middle, high)
    return high
