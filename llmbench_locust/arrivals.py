"""When each request is due: the arrival processes of `vllm bench serve` as pure functions of seed
and rate.

The offsets equal vLLM's for the same seed (its ``get_request``): one interval per request is drawn
from the gamma distribution; their cumulative sum is, without a ramp, scaled so that the last
request is due at n / rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ramp:
    """A changing rate. ``strategy``: "linear" or "exponential"; rates in requests per second."""

    strategy: str
    start_rps: float
    end_rps: float

    def rates(self, n: int) -> NDArray[np.float64]:
        """Requests per second at each of ``n`` requests (float64, shape (n,))."""
        progress = np.arange(n, dtype=np.float64) / max(n - 1, 1)
        if self.strategy == "linear":
            return self.start_rps + (self.end_rps - self.start_rps) * progress
        return self.start_rps * (self.end_rps / self.start_rps) ** progress


def arrival_offsets(
    n: int, *, request_rate: float, burstiness: float = 1.0, seed: int = 0, ramp: Ramp | None = None
) -> NDArray[np.float64]:
    """Offsets in seconds from the start of the arrivals (float64, shape (n,), non-decreasing).

    ``request_rate``: requests per second, inf for all at 0 (ignored with a ramp). ``burstiness``:
    the shape of the gamma distribution: 1 is a Poisson process, below 1 is burstier, above 1 is
    steadier, inf is a constant interval.
    """
    if n <= 0:
        return np.zeros(0, np.float64)
    if ramp is None and math.isinf(request_rate):
        return np.zeros(n, np.float64)
    rates = np.full(n, float(request_rate)) if ramp is None else ramp.rates(n)
    delays = _intervals(rates, burstiness, seed)
    offsets = np.cumsum(delays)
    if ramp is None and offsets[-1] > 0:
        offsets *= (n / request_rate) / offsets[-1]
    return offsets


def _intervals(rates: NDArray[np.float64], burstiness: float, seed: int) -> NDArray[np.float64]:
    flowing = np.isfinite(rates) & (rates > 0)
    if math.isinf(burstiness):
        return np.divide(1.0, rates, out=np.zeros_like(rates), where=flowing)
    # A rate of 0 at the start of a linear ramp would make the first interval infinite: that request
    # is due at once instead.
    scales = np.divide(1.0, rates * burstiness, out=np.zeros_like(rates), where=flowing)
    return np.random.RandomState(seed).gamma(burstiness, scales)


def trace_offsets(due_s: NDArray[np.float64], speedup: float = 1.0) -> NDArray[np.float64]:
    """A trace's times as offsets from its first request, ``speedup`` times as fast."""
    if len(due_s) == 0:
        return due_s
    offsets: NDArray[np.float64] = (due_s - due_s.min()) / speedup
    return offsets
