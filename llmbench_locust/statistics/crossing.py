"""Estimates where a falling curve crosses its target, from noisy measurements at several loads.

The model is a line over the logarithm of the load, with a negative slope: the logit of a share
(logistic regression), or the logarithm of a mean over its limit. A queue's curve is neither, so
measurements have less weight the further they are from the crossing (local likelihood: Loader,
"Local regression and likelihood", 1999). Requests of one run are correlated, so the unit is the
run: the spread of the runs about the curve gives the dispersion (quasi-likelihood: McCullagh and
Nelder, "Generalized linear models", 1989, section 4.5), which scales the interval. Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.crowding import crowding_dispersion
from llmbench_locust.statistics.distributions import t_quantile

Floats = NDArray[np.float64]

#: Prior of the log of the slope: mean and standard deviation. It is weak, and only keeps the slope
#: negative and finite while all measurements are on one side.
_LOG_SLOPE, _LOG_SLOPE_SD = math.log(8.0), 1.5
_LOCAL_STEPS = 6
#: The grid: number of roots on either side of the last estimate, distance of the nearest, slopes.
_ROOTS, _FINEST, _SLOPES = 60, 1e-4, np.linspace(-3, 4, 29)
#: Widens the interval, because stopping as soon as it is narrow makes it too narrow;
#: docs/capacity.md.
CALIBRATION = 1.3
_LEAST_UNITS = 5  # at least this many runs have full weight, however steep the line is
#: How far the root may be beyond the runs that enclose it, and beyond all runs, in ln(load).
_BEYOND, _NO_BOUND = 0.25, 3.0
#: Prior of the dispersion of shares: this part of the crowding's dispersion, or this value if that
#: is unknown, with the weight of this many runs. Needed because runs without a miss have no spread.
_CROWDING_LEAVES, _USUAL_DISPERSION, _USUAL_RUNS = 0.7, 4.0, 8.0
_SATURATION_LEAVES, _LEAST_IDLE = 0.35, 0.05
_FAR = 1e-3  # weight of a measurement far from the crossing
_UNKNOWN_DISPERSION = 20.0  # until three runs are near the crossing
_MOST_LOG = 50.0  # bound of a logarithm before exponentiation


class Unit(NamedTuple):
    """One run at ``load``. Share: ``value`` of ``weight`` requests met the objective. Mean:
    ``value`` is the figure over its limit, good below 1; a short run has a ``weight`` below 1.

    ``crowding``: how much more crowded the arrivals were than average arrivals at this load
    (`statistics.crowding`); ``in_flight``: mean requests in flight. 0 if unknown.
    """

    load: float
    value: float
    weight: float
    crowding: float = 0.0
    in_flight: float = 0.0


#: Distance from the target, on the line's scale, within which a run has full weight.
SHARE_REACH, MEAN_REACH = 2.0, 0.6
_LEAST_DISPERSION = 1e-3  # of means that are on the line by chance
_MEAN_WEIGHT = 100.0  # assumes that a mean is known to 10%; the dispersion corrects it


@dataclass(frozen=True, slots=True)
class Crossing:
    """``load`` with its interval; ``slope``: of the line over ln(load), negative; ``units``: total
    weight of runs near the crossing; ``curve``: load → share, or mean over its limit.
    """

    load: float
    low: float
    high: float
    slope: float
    dispersion: float
    units: float
    curve: Callable[[Floats], Floats]

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a share of the load."""
        return (self.high - self.low) / 2 / self.load


def crossing(
    units: Sequence[Unit], target: float | None, *, most: float = math.inf, level: float = 0.95
) -> Crossing:
    """The load, at most ``most``, at which the share falls to ``target``, or the mean rises to its
    limit (``target`` None).
    """
    line = _Line(units, target, math.log(most))
    line.fit_locally()
    margin = t_quantile((1 + level) / 2, max(1.0, line.units - 2)) * line.error
    reach = min(CALIBRATION * margin, _MOST_LOG)
    below, above = line.gap()
    return Crossing(
        load=math.exp(line.root),
        low=math.exp(min(line.root - reach, below)),
        high=math.exp(min(max(line.root + reach, above), line.most_load, _MOST_LOG)),
        slope=-line.slope,
        dispersion=line.dispersion,
        units=line.units,
        curve=lambda loads: line.curve(np.log(loads)),
    )


class _Line:
    """η = target − slope · (x − root), x = ln load.

    Root and slope are from the posterior, summed over a grid. Maximum likelihood does not work: if
    all requests below a gap met the objective and none above it did, the slope is unbounded and its
    error meaningless (Albert and Anderson, "On the existence of maximum likelihood estimates in
    logistic regression models", 1984). The grid correctly finds the root anywhere in the gap.
    """

    def __init__(self, units: Sequence[Unit], target: float | None, most: float) -> None:
        self.share = target is not None
        self.reach = SHARE_REACH if self.share else MEAN_REACH
        self.x = np.log([u.load for u in units])
        value = np.array([u.value for u in units], np.float64)
        n = np.array([u.weight for u in units], np.float64)
        if target is not None:
            self.target = math.log(target / (1 - target)) if target < 1 else 7.0
            # Adds half a request at the target, so that a run without a miss has a finite logit.
            self.met, self.n = value + 0.5 * min(target, 0.999), n + 0.5
            self.most = self.met - value + n
        else:
            self.target = 0.0
            self.n = n * _MEAN_WEIGHT
            self.met = -np.log(np.maximum(value, 1e-9)) * self.n
            self.most = self.met
        self.seen = self.met
        self.most_load = most
        self.bracket = self._bracket(most)
        self.crowding = np.array([u.crowding for u in units])
        self.in_flight = np.array([u.in_flight for u in units])
        self.weight = np.ones(len(units))
        self.dispersion = _UNKNOWN_DISPERSION
        self.root = sum(self.bracket) / 2

    def fit_locally(self) -> None:
        """Fit, find the runs near the crossing, fit again; then correct these for crowding."""
        self._fit()
        for step in range(2 * _LOCAL_STEPS):
            away = np.abs(self.x - self.root)
            nearest = float(np.sort(away)[:_LEAST_UNITS][-1])
            near = np.clip(2 - away / max(self.reach / self.slope, nearest), _FAR, 1.0)
            self.weight = near if step % _LOCAL_STEPS > 3 else (self.weight + near) / 2
            if step >= _LOCAL_STEPS:
                self._allow_for_crowding()
            self.units = float(self.weight.sum())
            self.dispersion = self._dispersion()
            self._fit()

    def _fit(self) -> None:
        low, high = self.bracket
        steps = np.geomspace(_FINEST, high - low, _ROOTS)
        at = np.concatenate([self.root - steps[::-1], [self.root], self.root + steps])
        at = at[(at >= low) & (at <= high)]
        log_slopes = _LOG_SLOPE + _LOG_SLOPE_SD * _SLOPES
        eta = self.target - np.exp(log_slopes)[:, None, None] * (self.x - at[:, None])
        log_sum = np.logaddexp(0, eta) if self.share else eta**2 / 2
        log = (self.met * eta - self.n * log_sum) @ (self.weight / self.dispersion)
        log -= (_SLOPES**2 / 2)[:, None]
        posterior = np.exp(log - log.max()) * np.gradient(at)
        self.root = float(np.average(at, weights=posterior.sum(0)))
        self.slope = math.exp(float(np.average(log_slopes, weights=posterior.sum(1))))
        self.error = math.sqrt(float(np.average((at - self.root) ** 2, weights=posterior.sum(0))))

    def _allow_for_crowding(self) -> None:
        """Correct each run for its crowding: add one met request for each request that found the
        server more crowded than expected. A regression coefficient would be about one, too, but
        its error is correlated with the correction. Far from the crossing, crowding does not change
        which requests miss.
        """
        mean, at_target = self._mean(self._eta(self.x)), self._mean(self.target)
        part = mean * (1 - mean) / (at_target * (1 - at_target)) if self.share else 1.0
        part = self.weight * np.minimum(1.0, part)
        self.met = np.minimum(self.seen + part * self.n * self.crowding, self.most)

    def gap(self) -> tuple[float, float]:
        """The nearest runs around the root that met and that missed, in ln(load): the root can be
        anywhere between them. No gap if two runs are in the transition itself.
        """
        seen = self.seen / self.n
        away = (np.log(seen / (1 - seen)) if self.share else seen) - self.target
        met = self.x[(away >= 0) & (self.x <= self.root)]
        missed = self.x[(away < 0) & (self.x >= self.root)]
        if np.count_nonzero(np.abs(away) < self.reach) >= 2:
            return self.root, self.root
        return float(met.max(initial=-_MOST_LOG)), float(missed.min(initial=_MOST_LOG))

    def curve(self, x: Floats) -> Floats:
        """Share, or mean over its limit, at ln(load) ``x``."""
        return self._mean(self._eta(x)) if self.share else np.exp(-self._eta(x))

    def _eta(self, x: Floats) -> Floats:
        return np.clip(self.target - self.slope * (x - self.root), -_MOST_LOG, _MOST_LOG)

    def _mean(self, eta: Floats | float) -> Floats:
        return np.asarray(1 / (1 + np.exp(-eta)) if self.share else eta)

    def _bracket(self, most: float) -> tuple[float, float]:
        """The range of the root, from a monotone fit of the runs (pool adjacent violators): from
        the second last run above the target to the second one below it, and a bit beyond.
        """
        from scipy.optimize import isotonic_regression

        order = np.argsort(self.x)
        x, n = self.x[order], self.n[order]
        fitted = isotonic_regression(self.seen[order] / n, weights=n, increasing=False).x
        above = int(np.count_nonzero(fitted >= self._mean(self.target)))
        low = x[above - 2] - _BEYOND if above > 1 else x[0] - _NO_BOUND
        high = x[above + 1] + _BEYOND if above + 1 < len(x) else x[-1] + _NO_BOUND
        high = min(high, most)
        return float(min(low, high - _BEYOND)), float(high)

    def _dispersion(self) -> float:
        """Pearson's dispersion of the runs near the crossing. The variance of a share is at least
        the one observed in the run, up to that at the target. Far from the crossing the line
        predicts almost none, and a single miss would weigh as much as thousands.
        """
        if self.units <= 2 + 0.5:
            return _UNKNOWN_DISPERSION
        mean, target = self._mean(self._eta(self.x)), self._mean(self.target)
        seen = self.met / self.n
        variance = np.ones_like(mean)
        if self.share:
            least = np.minimum(seen * (1 - seen), target * (1 - target))
            variance = np.maximum(np.maximum(mean * (1 - mean), least), 1e-4)
        squares = self.n * (seen - mean) ** 2 / variance
        found = float(np.sum(self.weight * squares)) / (self.units - 2)
        if not self.share:
            return max(_LEAST_DISPERSION, found)
        in_flight = float(np.average(self.in_flight, weights=self.weight))
        usual = _USUAL_DISPERSION
        if in_flight:
            usual = _CROWDING_LEAVES * crowding_dispersion(in_flight, float(target))
        idle = max(1 - math.exp(self.root - self.most_load), _LEAST_IDLE)
        usual = max(usual, _SATURATION_LEAVES / idle**2)
        return found + max(0.0, usual - found) * _USUAL_RUNS / (self.units - 2 + _USUAL_RUNS)
