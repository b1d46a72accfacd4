"""The standard error of a single run, whose requests are not independent.

The series of a run, in time order, is divided into blocks; the spread of the block means gives the
standard error of the mean (non-overlapping batch means: Schmeiser, "Batch size effects in the
analysis of simulation output", Operations Research 30, 1982). Remaining correlation between
neighbouring blocks widens it, as in Skart (Tafazzoli, Steiger and Wilson, "N-Skart", IEEE
Transactions on Automatic Control 56, 2011), and reduces the degrees of freedom. docs/compare.md has
the coverage on queues with known true values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.distributions import t_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCKS = 10  # fewer make Student's t large, more leave correlation between neighbours
LONG_RUN = ((40, 8000), (20, 4000))  # (blocks, minimum values) if neighbours are uncorrelated
FREE = 0.1  # neighbours count as uncorrelated up to this
MOST_CORRELATION = 0.9
LEAST_DF = 3.0


class Interval(NamedTuple):
    """``high`` is inf if the data give no upper bound, ``low`` is 0 if they give no lower bound."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StandardError:
    """``se``: inf if there is too little data. ``df``: degrees of freedom of Student's t."""

    se: float
    df: float

    def margin(self, level: float) -> float:
        """Half the width of the two-sided interval at ``level`` (0.95)."""
        return self.se * t_quantile((1 + level) / 2, self.df) if self.se > 0 else 0.0


UNKNOWN = StandardError(math.inf, 1.0)


def block_means(series: Floats, blocks: int = BLOCKS) -> Floats:
    """Means of ``blocks`` consecutive parts, whose sizes differ by at most one."""
    edges = np.linspace(0, len(series), blocks + 1).astype(np.int64)
    means: Floats = np.add.reduceat(series, edges[:-1]) / np.diff(edges)
    return means


def standard_error(series: Floats) -> StandardError:
    """The standard error of the mean of ``series``, float64 (n,), in time order. UNKNOWN if there
    are fewer than two values per block.
    """
    if len(series) < 2 * BLOCKS:
        return UNKNOWN
    for blocks, enough in (*LONG_RUN, (BLOCKS, 0)):
        if len(series) < enough:
            continue
        means = block_means(series, blocks)
        variance = float(means.var(ddof=1))
        if variance <= 0:
            return StandardError(0.0, blocks - 1)
        correlation = _correlation(means)
        if correlation <= FREE:
            break
    r = min(max(correlation, 0.0), MOST_CORRELATION)
    inflation = (1 + r) / (1 - r)
    df = max(LEAST_DF, (blocks - 1) / inflation)
    return StandardError(math.sqrt(variance * inflation / blocks), df)


def _correlation(means: Floats) -> float:
    """The correlation of neighbours, corrected for bias in short series (Kendall, "Note on bias in
    the estimation of autocorrelation", Biometrika 41, 1954).
    """
    away, n = means - means.mean(), len(means)
    return (n * float(away[1:] @ away[:-1] / (away @ away)) + 1) / (n - 4)


def add(first: StandardError, second: StandardError) -> StandardError:
    """The error of a sum or difference of independent estimates; degrees of freedom after Welch."""
    a, b = first.se**2, second.se**2
    if not a + b or not math.isfinite(a + b):
        return UNKNOWN if a + b else StandardError(0.0, first.df + second.df)
    return StandardError(math.sqrt(a + b), (a + b) ** 2 / (a**2 / first.df + b**2 / second.df))


def runs_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's t interval over the values of independent runs; None for fewer than two."""
    if len(values) < 2:
        return None
    mean, se = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = StandardError(se, len(values) - 1).margin(level)
    return Interval(mean - half, mean + half)
