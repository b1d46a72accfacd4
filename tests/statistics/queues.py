"""Queues with a known truth: c places, first come first served, Poisson arrivals."""

import numpy as np

WARM_UP = 4000  # requests; the queue starts empty


def waits(rng, rho, n, *, runs=1, places=8, hold=1.0, gaps=None, warm_up=WARM_UP):
    """Start times and waits, (n, runs) each, after the warm-up. ``gaps``: common random numbers,
    exponential with mean 1, (n + warm_up, runs); ``hold`` is each request's time in service.
    """
    rows = n + warm_up
    unit = rng.exponential(1.0, (rows, runs)) if gaps is None else gaps
    due = np.cumsum(unit * (1.0 / (rho * places)), axis=0)
    begin = np.empty_like(due)
    # With one service time for all the k-th request starts when the (k - c)-th has left.
    for k in range(rows):
        begin[k] = due[k] if k < places else np.maximum(due[k], begin[k - places] + hold)
    return due[warm_up:], (begin - due)[warm_up:]


def truth(rho, *, places=8, hold=1.0, p=99, seed=99, runs=200, n=20_000):
    """Mean and p-th percentile of the wait, from runs × n requests."""
    _, found = waits(np.random.default_rng(seed), rho, n, runs=runs, places=places, hold=hold)
    return float(found.mean()), float(np.percentile(found, p))
