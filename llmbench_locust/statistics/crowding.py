"""How crowded a run's arrivals happened to be, beside arrivals at the same rate in general.

A server is slow for the requests that find many others there. How many that are is mostly chance of
the arrivals, and arrivals are known: so that part of a run's misses can be told from what its rate
causes (a control variate). Pure.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def crowding(
    due_s: Floats,
    rows: NDArray[np.bool_],
    gamma: tuple[float, float],
    latency_s: float,
    share: float,
) -> float:
    """By how much the share of requests that found the server crowded is above its expectation.

    ``due_s``: arrivals in order, (n,). ``rows``: which of them count. ``gamma``: rate and shape of
    the process, whose intervals have a gamma distribution. A request finds there what arrived
    within ``latency_s`` before it; crowded is what a part of 1 − ``share`` finds by expectation.
    """
    from scipy.special import gammainc

    rate, shape = gamma
    rows = rows & (due_s - due_s[:1] >= latency_s)  # earlier ones miss what came before the run
    if not rows.any() or math.isinf(shape) or latency_s <= 0 or share >= 1:
        return 0.0
    before = np.searchsorted(due_s, due_s - latency_s, side="right")
    found = (np.arange(len(due_s)) - before)[rows]
    # The k intervals before a request together have a gamma distribution of k times their shape.
    most = int(found.max() + 4 * rate * latency_s) + 40
    tail = gammainc(shape * np.arange(1, most), shape * rate * latency_s)
    tail = np.concatenate([[1.0], tail])  # P(N ≥ 0), P(N ≥ 1), …
    limit = int(np.searchsorted(-tail, share - 1))  # the first k with P(N ≥ k) ≤ 1 − share
    part = (1 - share - tail[limit]) / (tail[limit - 1] - tail[limit])
    crowded = np.mean(found >= limit) + part * np.mean(found == limit - 1)
    return float(crowded) - (1 - share)
