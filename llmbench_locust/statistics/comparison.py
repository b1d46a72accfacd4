"""Does B differ from A? Ratios of the runs' figures, their intervals, and the sample size needed.

All values are natural logarithms of new ÷ base. With several runs per side the unit is the run: the
spread of the runs includes both variation between runs and noise within them (Kalibera and Jones,
"Rigorous benchmarking in reasonable time", ISMM 2013). Intervals use Student's t, because a
bootstrap over few runs is too narrow. With one run per side they use the blocks of `blocks`, and do
not include variation between runs. Requests of the same workload are paired (common random
numbers), which leaves only the differences between the servers.
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
TAIL = 2.5  # error of a percentile without a bound ÷ error of the mean, for long busy queues
BLOCKS_LIMIT = 0.95  # confidence of the error's upper limit; blocks of short runs underestimate it
MOST_RUNS = 1000
BLOCKS_MARGIN = 1.3  # in 4 of 5 long runs the margin from blocks is at most this × the normal one
LEAST_CARRYING = 2.0  # with fewer blocks with slow requests, pairs prove nothing


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run. ``influences``: influence series on its logarithm; for a percentile,
    on a probability, with ``curve`` as the sorted values and p. ``known``: the error of the
    logarithm if there is no per-request data. ``plan``: for a percentile, the influences of the
    mean, used to plan more requests if the run is too short to bound the percentile. ``slow``: for
    each request, the excess over the smallest value, or the number of values above the percentile.
    """

    value: float
    influences: tuple[Floats, ...] = ()
    known: StandardError = UNKNOWN
    curve: tuple[Floats, float] | None = None
    floor: float = 0.0
    plan: tuple[Floats, ...] = ()
    slow: Floats | None = None

    def spread(self, margin: float) -> tuple[float, float]:
        """A margin in the influences' unit as distances down and up, in logarithms."""
        if self.curve is None:
            return margin, margin
        values, p = self.curve
        low, high = quantile_bounds(values, p, margin)
        return (
            math.log(self.value / low) if low > 0 else math.inf,
            math.log(high / self.value) if high < math.inf else math.inf,
        )

    def slope(self) -> float:
        """Change of the figure's logarithm per unit of its influences, near the figure."""
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
    """``log_ratio`` of new to base, and its interval by level. ``runs``: number of runs of the
    smaller side if runs are the unit, else 0. ``p_value``: two-sided; 1.0 if nothing is known.
    """

    log_ratio: float
    interval: Callable[[float], Interval]
    error: StandardError
    p_value: float
    runs: int
    paired: bool

    def factor(self, level: float, effect: float) -> float | None:
        """How many times the requests (or runs, if they are the unit) detect a change of ``effect``
        (logarithm) in 4 of 5 comparisons at ``level``; None if the error is unknown.

        Uses an upper limit of the error, which is itself an estimate (Browne, "On the use of a
        pilot sample for sample size determination", Statistics in Medicine 14, 1995).
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
    are positive. One run per side needs influences or known errors, else the result is unknown.
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
        """The percentile curves convert the error in probability to one of the ratio; the base's
        is mirrored.
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
    """The effective number of blocks that contain the slow requests of both sides.

    Pairs cancel what both sides share, but the remaining noise grows with the queue. A run whose
    slow requests are a single episode has only one sample of that noise (degrees of freedom after
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946).
    """
    if base.slow is None or new.slow is None or len(base.slow) < BLOCKS:
        return BLOCKS
    weights = block_means(base.slow + new.slow)
    return float(weights.sum()) ** 2 / float(weights @ weights) if weights.any() else BLOCKS


def _p_value(interval: Callable[[float], Interval]) -> float:
    """1 − the highest level at which the interval excludes 0, by bisection."""
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
    """Levels at which an interval excludes 0 exactly if Holm's test rejects its hypothesis.

    Holm, "A simple sequentially rejective multiple test procedure" (1979): compare the smallest
    p-value with α ÷ k, the next with α ÷ (k − 1) …; from the first failure on, keep that value.
    """
    left, levels, stopped = len(p_values), [0.0] * len(p_values), False
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        levels[i] = 1 - alpha / left
        stopped = stopped or p_values[i] > alpha / left
        left -= not stopped
    return levels


def verdict(interval: Interval, equivalence: float, higher_is_better: bool) -> str:
    """``equivalence``: a logarithm; an interval within ± this means no change (two one-sided tests:
    Schuirmann, 1987; conservative at this level).
    """
    if -equivalence <= interval.low and interval.high <= equivalence:
        return "no change"
    if _excludes_zero(interval):
        return "better" if (interval.low > 0) == higher_is_better else "worse"
    return "cannot tell"


def abba(repeats: int) -> list[str]:
    """Order of 2 × ``repeats`` runs: ABBA, BAAB, … Linear drift then affects both sides alike."""
    return [side for pair in range(repeats) for side in ("ab" if pair % 4 in (0, 3) else "ba")]
