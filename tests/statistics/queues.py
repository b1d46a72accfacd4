"""M/D/c queues with a known truth: Poisson arrivals, c places, one service time, first come first
served. A run of it has the columns that a comparison needs.
"""

from dataclasses import dataclass

import numpy as np

WARM_UP = 8000  # requests; the queue starts empty
TOKENS = 50.0


def waits(rng, rho, n, *, runs=1, places=8, warm_up=WARM_UP):
    """Start times and waits, (n, runs) each, in service times, after the warm-up."""
    rows = -(-(n + warm_up) // places)
    due = np.cumsum(rng.exponential(1 / (rho * places), (rows * places, runs)), axis=0)
    # The k-th request starts when the (k - c)-th has left: begin_k = max(due_k, begin_(k-c) + 1).
    steps = np.arange(rows)[:, None, None]
    begin = np.maximum.accumulate(due.reshape(rows, places, runs) - steps, axis=0) + steps
    found = begin.reshape(rows * places, runs) - due
    return due[-n:], found[-n:]


def truth(rho, *, p=99, seed=99, runs=200, n=20_000):
    """Mean and p-th percentile of the wait, from runs × n requests."""
    _, found = waits(np.random.default_rng(seed), rho, n, runs=runs)
    return float(found.mean()), float(np.percentile(found, p))


@dataclass
class Run:
    """Seconds; the service time is ``unit``, of which a twentieth is the first token's."""

    start: np.ndarray
    ttft: np.ndarray
    end: np.ndarray

    @property
    def throughput(self):
        return len(self.end) * TOKENS / (self.end.max() - self.start.min())


def run(rng, rho, n, unit=1.0):
    """``unit``: 1.1 makes every time 10% longer."""
    start, wait = (column[:, 0] * unit for column in waits(rng, rho, n))
    return Run(start, wait + unit / 20, start + wait + unit)


def pairs(rng, rho, n, count, *, jitter, warm_up=2000):
    """TTFTs of ``count`` pairs of equal servers that get the same arrivals, (n, count) each. Their
    service times differ: lognormal, with this standard deviation of the logarithm.
    """
    rows = n + warm_up
    gaps = rng.exponential(1 / (rho * 8), (rows, count, 1))
    sides = []
    for _ in "ab":
        left, waited = np.zeros((count, 8)), np.empty((rows, count))  # work left of each place
        service = rng.lognormal(0, jitter, (rows, count))
        for k in range(rows):
            waited[k] = left[:, 0]
            left[:, 0] += service[k]
            left = np.sort(np.maximum(left - gaps[k], 0), axis=1)
        sides.append(waited[warm_up:] + 0.05)
    return sides
