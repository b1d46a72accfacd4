"""The steady part of a run, and whether its queue keeps growing. Pure numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.blocks import block_means
from llmbench_locust.statistics.distributions import t_quantile

Floats = NDArray[np.float64]

#: A server fills up within this many latencies; at most this part of a short run is cut off.
LATENCIES, MOST = 3.0, 0.3
CLEARLY, EARLY = 3.0, 5  # standard deviations; one in this many requests is early
BLOCKS = 8
SLOPE = 0.02  # slower growth of the queue, as a share of the arrivals, may be random


def steady_window(start_s: Floats, end_s: Floats) -> NDArray[np.bool_]:
    """Which requests saw the server under full load: bool (n,). NaN ends are failed requests.

    Excludes requests of the first three mean latencies, while the server fills up, and of the last
    one, when no more requests follow. The rule uses only times, not the reported latencies: MSER-5
    on the latencies would cut off early slow episodes and make the run look better than it was. If
    no request would be left, all count.
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
    """(completions per second once the server has filled up, whether it was saturated). NaN times
    are requests that failed or were never sent.

    By Little's law, about as many requests are in flight at the last start as arrive within one
    latency (that of the first fifth of the requests). Clearly more is a backlog, because below
    saturation a queue grows at most like a random walk with a step of about one per request. A run
    of few latencies counts as unsaturated; its rate is over all requests, from the first start to
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
    """Whether the requests in flight, sampled every ``every_s``, keep growing at ``rate``.

    A one-sided t test of the slope against 2% of the arrivals: above capacity the queue grows by
    the excess arrivals. It uses the means of eight blocks of the last two thirds, because single
    samples are correlated, and a test on them is wrong in a third of the cases. The level is high
    because this is called twice a second: at 95%, one steady run in three would be called
    overloaded.
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
