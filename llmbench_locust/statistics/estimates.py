"""Means, percentiles and throughputs of one run with their intervals.

Each figure comes with its influence series: one value a request, in time order, that says how much
the request moves the figure, and whose mean is 0. The standard error of that mean is the figure's.
A request may have many values (its inter-token gaps) or none (it failed): ``counts``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmbench_locust.statistics.blocks import (
    Floats,
    Interval,
    Ints,
    StandardError,
    effective_size,
    standard_error,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """``values``: float64 (m,), request by request in time order; ``counts``: int64 (n,), how many
    values each request has, sum m; None: one each.
    """

    values: Floats
    counts: Ints | None = None

    def by_request(self, amounts: Floats) -> Floats:
        """Sums of ``amounts`` (m,) by request, divided by the mean number of values: (n,)."""
        if self.counts is None:
            return amounts
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        sums = np.bincount(owner, amounts, len(self.counts))
        return np.asarray(sums * (len(self.counts) / max(1, len(self.values))))


def mean_influence(sample: Sample) -> Floats:
    """As shares of the mean: its standard error is that of the mean's logarithm."""
    mean = float(sample.values.mean())
    shares: Floats = np.asarray(sample.values / mean - 1)
    return sample.by_request(shares)


def quantile_influence(sample: Sample, p: float) -> Floats:
    """In probability: the share of values at or below the p-quantile, minus p."""
    at = float(np.quantile(sample.values, p))
    return sample.by_request((sample.values <= at).astype(np.float64) - p)


def rate_influence(amounts: Floats, ends: Floats) -> Floats:
    """Of a throughput Σ amounts ÷ time, as shares, by completion in the order of ``ends`` (n,).

    (n − 1,): what each completion brought against how long it came after the one before.
    """
    order = np.argsort(ends, kind="stable")
    gaps, brought = np.diff(ends[order]), amounts[order][1:]
    if not gaps.sum() or not brought.sum():
        return np.zeros(len(gaps))
    return np.asarray(brought / brought.mean() - gaps / gaps.mean())


def mean_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """From logarithms, as latencies are skewed. None with too few requests, or a mean of 0."""
    if not len(sample.values) or sample.values.mean() <= 0:
        return None
    return around(float(sample.values.mean()), standard_error(mean_influence(sample)), level)


def around(value: float, error: StandardError, level: float = 0.95) -> Interval | None:
    """``error``: of the logarithm of ``value``."""
    if math.isinf(error.se):
        return None
    factor = math.exp(min(error.margin(level), 700.0))
    return Interval(value / factor, value * factor)


def quantile_error(sample: Sample, p: float) -> StandardError:
    """In probability. The effective size is the smallest of three: that of independent values, that
    of the values above the percentile, and that of three times as many, which a short run knows
    better than its few slowest.
    """
    error, size = standard_error(quantile_influence(sample, p)), len(sample.values)
    wider = 1 - 3 * (1 - p)
    if wider > 0:
        inner = standard_error(quantile_influence(sample, wider))
        size = min(size, int(effective_size(wider, inner, size)))
    return StandardError(max(error.se, math.sqrt(p * (1 - p) / max(1, size))), error.df)


def quantile_interval(sample: Sample, p: float, level: float = 0.95) -> Interval | None:
    """Order statistics at ranks n (p ± t se). Its upper end is inf where the rank is beyond n: the
    run has too few slow requests to bound the percentile. None with too few requests.
    """
    if not len(sample.values):
        return None
    error = quantile_error(sample, p)
    if math.isinf(error.se):
        return None
    half = error.margin(level)
    low, high = quantiles(sample.values, np.array([p - half, p + half])).tolist()
    return Interval(low, high)


def quantiles(values: Floats, points: Floats) -> Floats:
    """0 below the smallest value's rank, inf beyond the largest's."""
    n = len(values)
    inside = np.quantile(values, np.clip(points, 0.0, 1.0))
    below = np.where(points < 0.5 / n, 0.0, inside)
    return np.where(points > 1 - 0.5 / n, np.inf, below)
