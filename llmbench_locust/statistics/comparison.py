"""Is B another than A? Ratios of figures of runs, their intervals, and what would tell.

Everything is in natural logarithms of new ÷ base. With several runs a side the run is the unit: its
value holds the luck that its requests share and the noise within it, so the spread of runs holds
both (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013). A bootstrap over
few runs is too narrow, so it is Student's t. With one run a side it is the blocks of `blocks`, and
the differences between runs are not in it. Requests of the same workload are paired: common random
numbers, which leave only what the servers did differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench_locust.statistics.blocks import (
    BLOCKS,
    UNKNOWN,
    Floats,
    Interval,
    StandardError,
    add,
    block_means,
)
from llmbench_locust.statistics.distributions import t_quantile
from llmbench_locust.statistics.estimates import (
    Sample,
    independent_error,
    largest_error,
    mean_influence,
    quantile_bounds,
    quantile_influences,
)

POWER = 0.8
TAIL = 2.5  # error of a percentile that cannot be bounded ÷ error of the mean, of long busy queues
BLOCKS_LIMIT = 0.95  # confidence of the error's upper limit; blocks of short runs see too little
MOST_RUNS = 1000
BLOCKS_MARGIN = 1.3  # in 4 of 5 long runs the margin from blocks is at most this × the normal one
LEAST_CARRYING = 2.0  # blocks with slow requests; with fewer, pairs prove nothing


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run. ``influences``: of its logarithm, or for a percentile in probability;
    then ``curve`` is the sorted values and p. ``known``: error of the logarithm where there are no
    requests to take it from. ``plan``: of a percentile, the influences of the mean, by which more
    requests are planned where the run is too short to bound the percentile. ``slow``: of each
    request, what it adds above the smallest value, or how many values above the percentile.
    """

    value: float
    influences: tuple[Floats, ...] = ()
    known: StandardError = UNKNOWN
    curve: tuple[Floats, float] | None = None
    floor: float = 0.0
    plan: tuple[Floats, ...] = ()
    slow: Floats | None = None

    def spread(self, margin: float) -> tuple[float, float]:
        """Distances down and up, in logarithms, of a margin in the influences' unit."""
        if self.curve is None:
            return margin, margin
        values, p = self.curve
        low, high = quantile_bounds(values, p, margin)
        return (
            math.log(self.value / low) if low > 0 else math.inf,
            math.log(high / self.value) if high < math.inf else math.inf,
        )

    def slope(self) -> float:
        """Logarithm of the figure for each unit of its influences, near it."""
        if self.curve is None:
            return 1.0
        values, p = self.curve
        step = min(p, 1 - p) / 2
        low, high = np.quantile(values, [p - step, p + step]).tolist()
        return math.log(high / low) / (2 * step) if low > 0 else math.inf


def mean_figure(sample: Sample) -> Figure:
    """The mean of a sample, which must be positive."""
    return Figure(
        float(sample.values.mean()),
        (mean_influence(sample),),
        slow=sample.by_request(sample.values - sample.values.min()),
    )


def quantile_figure(sample: Sample, p: float) -> Figure:
    """The p-quantile of a sample, which must be positive."""
    ordered = np.sort(sample.values)
    value = float(np.quantile(ordered, p))
    return Figure(
        value,
        quantile_influences(sample, p),
        curve=(ordered, p),
        floor=independent_error(sample, p),
        plan=(mean_influence(sample),),
        slow=sample.by_request((sample.values > value).astype(np.float64)),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """``log_ratio`` of new to base, and its interval by level. ``runs``: runs on the smaller side
    when runs are the unit, else 0. ``p_value``: two-sided; 1.0 where nothing can be said.
    """

    log_ratio: float
    interval: Callable[[float], Interval]
    error: StandardError
    p_value: float
    runs: int
    paired: bool

    def factor(self, level: float, effect: float) -> float | None:
        """How many times the requests (runs, where they are the unit) tell a change of ``effect``
        (logarithm) in 4 of 5 comparisons at ``level``; None when the error is not known.

        The error is taken at an upper limit, as it is itself only estimated (Browne, "On the
        use of a pilot sample for sample size determination", Statistics in Medicine 14, 1995).
        """
        from scipy.special import chdtri, ndtri

        if not math.isfinite(self.error.se):
            return None
        df, alpha = self.error.df, 1 - level
        limit = POWER if self.runs else BLOCKS_LIMIT
        se = self.error.se * math.sqrt(df / float(chdtri(df, limit)))
        if not self.runs:
            needed = BLOCKS_MARGIN * float(ndtri(1 - alpha / 2)) + float(ndtri(POWER))
            return (needed * se / effect) ** 2
        for runs in range(self.runs + 1, MOST_RUNS):
            more = (runs - 1) if self.paired else 2 * (runs - 1)
            needed = t_quantile(1 - alpha / 2, more) + t_quantile(POWER, more)
            if needed * se * math.sqrt(self.runs / runs) <= effect:
                return runs / self.runs
        return MOST_RUNS / self.runs


def difference(base: Sequence[Figure], new: Sequence[Figure], *, paired: bool) -> Difference:
    """``paired``: the i-th run of each side had the same requests in the same order. All values
    positive. One run on each side needs influences or known errors, or nothing can be said.
    """
    a = np.log([figure.value for figure in base])
    b = np.log([figure.value for figure in new])
    if len(a) == len(b) == 1:
        return _of_two_runs(base[0], new[0], paired)
    matched = paired and len(a) == len(b)
    if matched:
        error = StandardError(float(np.std(b - a, ddof=1)) / math.sqrt(len(a)), len(a) - 1)
    else:
        df = len(a) + len(b) - 2
        pooled = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / df
        error = StandardError(math.sqrt(pooled * (1 / len(a) + 1 / len(b))), df)
    ratio = float(b.mean() - a.mean())

    def interval(level: float) -> Interval:
        return Interval(ratio - error.margin(level), ratio + error.margin(level))

    return Difference(ratio, interval, error, _p_value(interval), min(len(a), len(b)), matched)


def _of_two_runs(base: Figure, new: Figure, paired: bool) -> Difference:
    matched = paired and bool(base.influences) and _same_shape(base, new)
    carrying = _carrying_blocks(base, new) if matched else 0.0
    matched = carrying >= LEAST_CARRYING
    ratio = math.log(new.value / base.value)
    if matched:
        error = _paired_error(base.influences, new.influences)
        error = StandardError(error.se, min(error.df, carrying - 1))
    else:
        error = add(_own_error(base), _own_error(new))

    def interval(level: float) -> Interval:
        """Each side's percentile curve turns the error in probability into one of the ratio: the
        new one's as it is, the base's mirrored.
        """
        if math.isinf(error.se):
            return Interval(-math.inf, math.inf)
        (down_a, up_a), (down_b, up_b) = (f.spread(error.margin(level)) for f in (base, new))
        return Interval(ratio - (down_b + up_a) / 2, ratio + (up_b + down_a) / 2)

    in_logs = StandardError(error.se * (base.slope() + new.slope()) / 2, error.df)
    if base.plan and new.plan and interval(0.99).high == math.inf:
        a, b = base.plan, new.plan
        of_mean = _paired_error(a, b) if matched else add(largest_error(a), largest_error(b))
        of_tail = StandardError(TAIL * of_mean.se, of_mean.df)
        in_logs = max(in_logs, of_tail, key=lambda e: e.se)
    return Difference(ratio, interval, in_logs, _p_value(interval), 0, matched)


def _own_error(figure: Figure) -> StandardError:
    if not figure.influences:
        return figure.known
    return largest_error(figure.influences, figure.floor)


def _same_shape(base: Figure, new: Figure) -> bool:
    return [len(z) for z in base.influences] == [len(z) for z in new.influences]


def _paired_error(base: Sequence[Floats], new: Sequence[Floats]) -> StandardError:
    return largest_error([b - a for a, b in zip(base, new, strict=True)])


def _carrying_blocks(base: Figure, new: Figure) -> float:
    """How many of the blocks carry the slow requests of both sides: their effective number.

    What both sides share cancels out in pairs, but the noise that is left grows with the queue. A
    run whose slow requests are one episode has seen that noise once (degrees of freedom after
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946).
    """
    if base.slow is None or new.slow is None or len(base.slow) < BLOCKS:
        return BLOCKS
    weights = block_means(base.slow + new.slow)
    return float(weights.sum()) ** 2 / float(weights @ weights) if weights.any() else BLOCKS


def _p_value(interval: Callable[[float], Interval]) -> float:
    """1 − the highest level at which the interval leaves 0 out, by bisection in 1 − level."""
    low, high = 1e-9, 1.0
    if not _excludes_zero(interval(0.0)) or _excludes_zero(interval(1 - low)):
        return low if _excludes_zero(interval(1 - low)) else high
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _excludes_zero(interval(1 - middle)) else (middle, high)
    return high


def _excludes_zero(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def holm_levels(p_values: Sequence[float], alpha: float = 0.05) -> list[float]:
    """The level of each interval so that excluding 0 agrees with Holm's test of all together.

    Holm, "A simple sequentially rejective multiple test procedure" (1979): the smallest p-value
    against α ÷ k, the next against α ÷ (k − 1) …; from the first that fails on, all against that.
    """
    left, levels, stopped = len(p_values), [0.0] * len(p_values), False
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        levels[i] = 1 - alpha / left
        stopped = stopped or p_values[i] > alpha / left
        left -= not stopped
    return levels


def verdict(interval: Interval, equivalence: float, higher_is_better: bool) -> str:
    """``equivalence``: a logarithm; an interval within ± this means no change (two one-sided tests:
    Schuirmann, 1987; at this level they are strict).
    """
    if -equivalence <= interval.low and interval.high <= equivalence:
        return "no change"
    if _excludes_zero(interval):
        return "better" if (interval.low > 0) == higher_is_better else "worse"
    return "cannot tell"


def abba(repeats: int) -> list[str]:
    """Order of 2 × ``repeats`` runs: ABBA, BAAB, …: a linear drift hits both sides alike."""
    return [side for pair in range(repeats) for side in ("ab" if pair % 4 in (0, 3) else "ba")]
