"""The steady part of a run, and whether its queue grows without end. Pure numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.blocks import block_means
from llmbench_locust.statistics.distributions import t_quantile

Floats = NDArray[np.float64]

#: A server fills up from empty within a few latencies; of a short run, at most a part is cut off.
LATENCIES, MOST = 3.0, 0.3
CLEARLY, EARLY = 3.0, 5  # standard deviations; one in so many requests is early
BLOCKS = 8
SLOPE = 0.02  # a queue that grows by less than this share of the arrivals may only be wandering


def steady_window(start_s: Floats, end_s: Floats) -> NDArray[np.bool_]:
    """Which requests saw the server at its load: bool (n,). NaN ends are of failed requests.

    Neither those of the first three mean latencies, while the server fills up, nor those of the
    last one, which it serves while nothing follows. The rule looks at times only, not at what is
    reported: MSER-5 on the waits themselves would cut off early slow episodes and so make the run
    look better than it was. All requests count where so few were sent that none is left.
    """
    if not len(start_s):
        return np.zeros(0, np.bool_)
    taken = end_s - start_s
    latency = float(np.nanmean(taken)) if not np.all(np.isnan(taken)) else 0.0
    first, last = float(np.nanmin(start_s)), float(np.nanmax(start_s))
    longest = (last - first) * MOST
    begin = first + min(LATENCIES * latency, longest)
    rows = (start_s >= begin) & (start_s <= last - min(latency, longest))
    return np.asarray(rows if rows.any() else start_s >= first)


def completion_rate(start_s: Floats, end_s: Floats) -> tuple[float, bool]:
    """Completions a second once the server has filled up, and whether it was saturated. NaN times
    are of requests that failed or were never sent.

    By Little's law about as many requests are in flight at the last start as come within one
    latency. Clearly more than that, by the latency of the first fifth, is a backlog: up to
    saturation a queue grows by a random walk at most, with a step of about one for each request. A
    run of few latencies shows no saturation, and its rate is that of all, from the first start to
    the last end.
    """
    done = np.isfinite(start_s) & np.isfinite(end_s)
    order = np.argsort(start_s[done], kind="stable")
    start, end = start_s[done][order], end_s[done][order]
    if not (n := len(end)):
        return 0.0, False
    first, last = float(start[0]), float(start[-1])
    early = (end - start)[: -(-n // EARLY)]
    full = first + 2 * float(early.mean())
    if full > (first + last) / 2:
        return n / max(float(end.max()) - first, 1e-9), False
    rate = np.count_nonzero((end > full) & (end <= last)) / (last - full)
    arrivals = n / (last - first)
    expected = arrivals * float(early.mean())
    chance = math.sqrt(n + arrivals**2 * float(early.var()) / len(early))
    backlog = np.count_nonzero(end > last) - expected
    return float(rate), bool(rate and backlog > CLEARLY * chance)


def grows(in_flight: Floats, every_s: float, rate: float, level: float = 0.999) -> bool:
    """Whether the requests in flight, one sample each ``every_s``, grow without end at ``rate``.

    The slope over the means of eight blocks of the later two thirds (single samples are correlated:
    a test on them is wrong in a third of the cases), by a one-sided t test against 2% of the
    arrivals: above capacity the queue grows by what the server cannot carry. It is asked twice a
    second, so that at a level of 95% one steady run in three would be called overloaded.
    """
    later = np.asarray(in_flight, np.float64)[len(in_flight) // 3 :]
    if len(later) < 2 * BLOCKS or rate <= 0:
        return False
    means = block_means(later, BLOCKS)
    time = (np.arange(BLOCKS) - (BLOCKS - 1) / 2) * len(later) / BLOCKS * every_s
    slope = float(time @ means / (time @ time))
    residuals = means - means.mean() - slope * time
    error = math.sqrt(float(residuals @ residuals) / (BLOCKS - 2) / float(time @ time))
    return slope - t_quantile(level, BLOCKS - 2) * error > SLOPE * rate
