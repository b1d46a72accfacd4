"""How crowded a run's arrivals were compared with average arrivals at the same rate.

Requests are slow if they find many others in the server. How many do is mostly due to random
arrivals, which are known. So that part of a run's misses can be separated from the effect of its
rate (a control variate). Pure.
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
    """The share of requests that found the server crowded, minus its expectation.

    ``due_s``: arrivals in order, (n,). ``rows``: which of them count. ``gamma``: rate and shape of
    the arrival process, whose intervals have a gamma distribution. A request finds the requests
    that arrived within ``latency_s`` before it. Crowded means a number that an expected share of
    1 − ``share`` of the requests finds.
    """
    from scipy.special import gammainc

    rate, shape = gamma
    rows = rows & (
        due_s - due_s[:1] >= latency_s
    )  # for earlier ones, arrivals before the run are missing
    if not rows.any() or math.isinf(shape) or latency_s <= 0 or share >= 1:
        return 0.0
    before = np.searchsorted(due_s, due_s - latency_s, side="right")
    found = (np.arange(len(due_s)) - before)[rows]
    # The sum of k intervals has a gamma distribution of k times their shape.
    most = int(found.max() + 4 * rate * latency_s) + 40
    tail = gammainc(shape * np.arange(1, most), shape * rate * latency_s)
    tail = np.concatenate([[1.0], tail])  # P(N ≥ 0), P(N ≥ 1), …
    limit = int(np.searchsorted(-tail, share - 1))  # the first k with P(N ≥ k) ≤ 1 − share
    part = (1 - share - tail[limit]) / (tail[limit - 1] - tail[limit])
    crowded = np.mean(found >= limit) + part * np.mean(found == limit - 1)
    return float(crowded) - (1 - share)


def crowding_dispersion(in_flight: float, share: float) -> float:
    """Variance of `crowding` over many runs ÷ that of as many independent requests, for Poisson
    arrivals and a mean of ``in_flight`` requests in flight.

    Numbers found at times t apart have the correlation r = 1 − t ÷ latency. Both are above a limit
    with probability (1 − share)² + ∫ φ₂ dr, where φ₂ is the bivariate normal density at the limit
    (Plackett, "A reduction formula for normal multivariate integrals", Biometrika 41, 1954).
    """
    from scipy.special import ndtri

    sine = np.sin(np.linspace(0, math.pi / 2, 101))  # r = sin θ
    both = (1 - sine) * np.exp(-(float(ndtri(share)) ** 2) / (1 + sine))
    covariance = float(np.mean(both[1:] + both[:-1])) / 8
    return 1 + 2 * in_flight * covariance / (share * (1 - share))
