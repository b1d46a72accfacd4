"""Means, percentiles and throughputs of one run, with intervals.

Each figure has an influence series with mean 0: for each request, in time order, how much it moves
the figure. The standard error of the series' mean is that of the figure. A request may have many
values (its inter-token gaps) or none (it failed): ``counts``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmbench_locust.statistics.blocks import (
    BLOCKS,
    Floats,
    Interval,
    Ints,
    StandardError,
    block_means,
    standard_error,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """``values``: float64 (m,), grouped by request in time order; ``counts``: int64 (n,), number of
    values of each request, sum m; None: one each.
    """

    values: Floats
    counts: Ints | None = None

    def by_request(self, amounts: Floats) -> Floats:
        """Sums of ``amounts`` (m,) per request, divided by the mean number of values: (n,)."""
        if self.counts is None:
            return amounts
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        sums = np.bincount(owner, amounts, len(self.counts))
        return np.asarray(sums * (len(self.counts) / max(1, len(self.values))))


def mean_influence(sample: Sample) -> Floats:
    """As shares of the mean, so that its standard error is that of the mean's logarithm."""
    mean = float(sample.values.mean())
    shares: Floats = np.asarray(sample.values / mean - 1)
    return sample.by_request(shares)


def quantile_influences(sample: Sample, p: float) -> tuple[Floats, ...]:
    """As probabilities: the share of values at or below the p-quantile, minus p.

    For p above 2/3 there is a second series: that of the percentile with three times as many values
    above it, scaled to p, because a short run knows it better than its few slowest values. The
    larger error of the two is used.
    """
    wider = 1 - 3 * (1 - p)
    points = [(p, 1.0)]
    if wider > 0:
        points.append((wider, math.sqrt(p * (1 - p) / (wider * (1 - wider)))))
    ordered = np.quantile(sample.values, [point for point, _ in points]).tolist()
    return tuple(
        sample.by_request(((sample.values <= at) - point) * scale)
        for at, (point, scale) in zip(ordered, points, strict=True)
    )


def rate_influence(amounts: Floats, ends: Floats) -> Floats:
    """For a throughput Σ amounts ÷ time, as shares, per completion in the order of ``ends`` (n,).

    (n − 1,): the amount of each completion relative to the time since the previous one.
    """
    order = np.argsort(ends, kind="stable")
    gaps, brought = np.diff(ends[order]), amounts[order][1:]
    if not gaps.sum() or not brought.sum():
        return np.zeros(len(gaps))
    return np.asarray(brought / brought.mean() - gaps / gaps.mean())


def mean_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """The interval of the mean; None if there are too few requests, or for a mean of 0.

    Computed on the logarithm. The upper end is at least that of Johnson's t for skewed data (JASA
    73, 1978, inverted by Hall, 1992), because short runs miss slow episodes more often than fast
    ones.
    """
    mean = float(sample.values.mean()) if len(sample.values) else 0.0
    if mean <= 0:
        return None
    influence = mean_influence(sample)
    error = standard_error(influence)
    if math.isinf(error.se):
        return None
    margin = min(error.margin(level), 700.0)
    high = math.exp(margin)
    if error.se > 0:
        skew = max(0.0, skewness(block_means(influence))) / (6 * math.sqrt(BLOCKS))
        high = max(high, 1 + error.se * _inverse_johnson(margin / error.se, skew))
    return Interval(mean * math.exp(-margin), mean * high)


def _inverse_johnson(t: float, skew: float) -> float:
    if skew < 1e-6:
        return t
    return float(1 - np.cbrt(1 - 6 * skew * (t + skew))) / (2 * skew)


def skewness(values: Floats) -> float:
    """Skewness, corrected for bias in small samples; 0 if all values are equal."""
    n, away = len(values), values - values.mean()
    spread = float(np.sqrt(away @ away / (n - 1)))
    return n / ((n - 1) * (n - 2)) * float((away**3).sum()) / spread**3 if spread else 0.0


def largest_error(influences: Sequence[Floats], floor: float = 0.0) -> StandardError:
    """The largest standard error of several influence series of one figure, at least ``floor``."""
    error = max((standard_error(series) for series in influences), key=lambda e: e.se)
    return error if error.se >= floor else StandardError(floor, error.df)


def quantile_interval(sample: Sample, p: float, level: float = 0.95) -> Interval | None:
    """Order statistics at ranks n (p ± t se). The upper end is inf if its rank is beyond n, because
    the run has too few slow requests to bound the percentile. None if there are too few requests.
    """
    if not len(sample.values):
        return None
    error = largest_error(quantile_influences(sample, p), independent_error(sample, p))
    if math.isinf(error.se):
        return None
    return quantile_bounds(sample.values, p, error.margin(level))


def independent_error(sample: Sample, p: float) -> float:
    """The standard error of a share ``p`` of independent values."""
    return math.sqrt(p * (1 - p) / len(sample.values))


def quantile_bounds(values: Floats, p: float, margin: float) -> Interval:
    """The quantiles at p ∓ margin: 0 below the rank of the smallest value, inf beyond the last."""
    n = len(values)
    low, high = np.quantile(values, [max(0.0, p - margin), min(1.0, p + margin)]).tolist()
    return Interval(
        low if p - margin >= 0.5 / n else 0.0, high if p + margin <= 1 - 0.5 / n else math.inf
    )
