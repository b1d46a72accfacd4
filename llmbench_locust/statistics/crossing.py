"""Where a falling curve crosses its target, from noisy measurements at several loads.

The curve is a line in the logarithm of the load, with a negative slope: of the logit of a share
(logistic regression), or of the logarithm of a mean over its limit. A queue's curve is neither, so
measurements count less the further they lie from the crossing (local likelihood: Loader, "Local
regression and likelihood", 1999). Requests of one run are correlated, so the unit is the run: the
spread of the runs about the curve gives the dispersion (quasi-likelihood: McCullagh and Nelder,
"Generalized linear models", 1989, section 4.5), which scales the interval. Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.statistics.distributions import t_quantile

Floats = NDArray[np.float64]

#: The log of the slope before anything is measured: its mean and its standard deviation. Weak: it
#: only keeps the slope negative and finite while all measurements lie on one side.
_LOG_SLOPE, _LOG_SLOPE_SD = math.log(8.0), 1.5
_NEWTON_STEPS, _LOCAL_STEPS = 60, 6
#: Stopping where the interval happens to be narrow makes it too narrow; docs/capacity.md.
CALIBRATION = 1.9
_LEAST_UNITS = 5  # so many runs count in full, however steep the line is
#: How far the root may lie beyond the runs that enclose it, and beyond all, in ln(load).
_BEYOND, _NO_BOUND = 0.25, 3.0
#: The dispersion of shares is taken to be this one before it is measured, or this part of that of
#: the crowding, with the weight of so many runs: runs without a miss agree only too well.
_USUAL_DISPERSION, _CROWDING_LEAVES, _USUAL_RUNS = 4.0, 0.5, 4.0
_FAR = 1e-3  # weight of a measurement far from the crossing
_UNKNOWN_DISPERSION = 20.0  # until three runs lie near the crossing
_MOST_LOG = 50.0  # bound of a logarithm that is turned back into a factor


class Unit(NamedTuple):
    """One run at ``load``. Share: ``value`` of ``weight`` requests met the objective. Mean: the
    figure over its limit is ``value``, where below 1 is good; ``weight`` is not used.

    ``crowding``: how much more crowded its arrivals were than arrivals at this load are on average
    (`statistics.crowding`); 0 where that is not known.
    """

    load: float
    value: float
    weight: float
    crowding: float = 0.0


#: How far from the target, on the line's scale, a run counts in full.
SHARE_REACH, MEAN_REACH = 2.0, 0.6
_LEAST_DISPERSION = 1e-3  # of means that lie on the line by chance
_MEAN_WEIGHT = 100.0  # a mean known to 10%; the dispersion corrects it


@dataclass(frozen=True, slots=True)
class Crossing:
    """``load`` with its interval; ``slope`` of the line in ln(load), negative; ``dispersion``;
    ``units``: runs near the crossing, by weight; ``curve``: load → share or mean over its limit.
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
        """Of the interval, as a share of the load."""
        return (self.high - self.low) / 2 / self.load


def crossing(units: Sequence[Unit], target: float | None, *, level: float = 0.95) -> Crossing:
    """The load at which the share falls to ``target``, or the mean rises to its limit (None)."""
    line = _Line(units, target)
    line.fit_locally()
    margin = t_quantile((1 + level) / 2, max(1.0, line.units - 2)) * line.error()
    reach = min(CALIBRATION * margin, _MOST_LOG)
    return Crossing(
        load=math.exp(line.root),
        low=math.exp(line.root - reach),
        high=math.exp(min(line.root + reach, _MOST_LOG)),
        slope=float(line.theta[1]),
        dispersion=line.dispersion,
        units=line.units,
        curve=lambda loads: line.curve(np.log(loads)),
    )


class _Line:
    """η = θ₀ + θ₁ (x − centre), x = ln load."""

    def __init__(self, units: Sequence[Unit], target: float | None) -> None:
        self.share = target is not None
        self.reach = SHARE_REACH if self.share else MEAN_REACH
        self.x = np.log([u.load for u in units])
        value = np.array([u.value for u in units], np.float64)
        n = np.array([u.weight for u in units], np.float64)
        if target is not None:
            self.target = math.log(target / (1 - target)) if target < 1 else 7.0
            # Half a request at the target: a run in which all met it has a finite logit.
            self.met, self.n = value + 0.5 * min(target, 0.999), n + 0.5
            self.most = self.met - value + n
        else:
            self.target = 0.0
            self.n = np.full(len(units), _MEAN_WEIGHT)
            self.met = -np.log(np.maximum(value, 1e-9)) * self.n
            self.most = self.met
        self.seen = self.met
        self.bracket = self._bracket()
        self.crowding = np.array([u.crowding for u in units])
        self.weight = np.ones(len(units))
        self.theta: Floats = np.array([self.target, -math.exp(_LOG_SLOPE)])
        self.centre = float(self.x.mean())
        self.dispersion = _UNKNOWN_DISPERSION

    def fit_locally(self) -> None:
        """Fit, look which runs are near, fit again; then allow for the crowding of those."""
        for step in range(2 * _LOCAL_STEPS):
            self._fit()
            self.root = self._root()
            away = np.abs(self.x - self.root)
            nearest = float(np.sort(away)[:_LEAST_UNITS][-1])
            reach = max(self.reach / abs(float(self.theta[1])), nearest)
            near = np.clip(2 - away / reach, _FAR, 1.0)
            self.weight = near if step % _LOCAL_STEPS > 3 else (self.weight + near) / 2
            if step >= _LOCAL_STEPS:
                self._allow_for_crowding()
            self.units = float(self.weight.sum())
            self.dispersion = self._dispersion()
        self._fit()
        self.root = self._root()

    def _allow_for_crowding(self) -> None:
        """Give back to each run what its crowding took from it: one request for each that found the
        server more crowded than expected. A regression coefficient would be about one, too; but
        its error is correlated with what it corrects. Far from the crossing crowding decides
        nothing: as many miss, or none.
        """
        _, variance = self._moments(self.theta[0] + self.theta[1] * (self.x - self.centre))
        at_target = float(self._moments(np.array([self.target]))[1][0])
        part = self.weight * np.minimum(1.0, variance / at_target)
        self.met = np.minimum(self.seen + part * self.n * self.crowding, self.most)

    def curve(self, x: Floats) -> Floats:
        """Share, or mean over its limit, at ln(load) ``x``."""
        eta = np.clip(self.theta[0] + self.theta[1] * (x - self.centre), -_MOST_LOG, _MOST_LOG)
        return np.asarray(1 / (1 + np.exp(-eta)) if self.share else np.exp(-eta))

    def error(self) -> float:
        """Standard error of the root."""
        return math.sqrt(self._variance(self.root)) / abs(float(self.theta[1]))

    def _variance(self, at: float) -> float:
        """Of the line at ``at``."""
        row = np.array([1.0, at - self.centre])
        return float(row @ self.covariance @ row)

    def _root(self) -> float:
        root = self.centre + (self.target - self.theta[0]) / self.theta[1]
        if self.share:  # the logit of a share that is known badly is biased away from a half
            share = 1 / (1 + math.exp(-self.target))
            root += (share - 0.5) * min(self._variance(root), 1.0) / self.theta[1]
        return float(np.clip(root, *self.bracket))

    def _bracket(self) -> tuple[float, float]:
        """Where the root can be: by a falling fit of the runs as they are (pool adjacent violators)
        from the second last one above the target to the second one below it, and a bit beyond.
        """
        from scipy.optimize import isotonic_regression

        order = np.argsort(self.x)
        x, n = self.x[order], self.n[order]
        fitted = isotonic_regression(self.seen[order] / n, weights=n, increasing=False).x
        above = int(np.count_nonzero(fitted >= self._moments(np.array([self.target]))[0]))
        low = x[above - 2] - _BEYOND if above > 1 else x[0] - _NO_BOUND
        high = x[above + 1] + _BEYOND if above + 1 < len(x) else x[-1] + _NO_BOUND
        return float(low), float(high)

    def _fit(self) -> None:
        """Newton's method with step halving. The slope's prior keeps it negative."""
        centre = float(np.average(self.x, weights=self.weight * self.n))
        theta = self.theta + np.array([self.theta[1] * (centre - self.centre), 0.0])
        self.centre = centre
        design = np.stack([np.ones_like(self.x), self.x - centre], 1)
        value = self._likelihood(theta, design)
        for _ in range(_NEWTON_STEPS):
            gradient, hessian = self._derivatives(theta, design)
            step = np.linalg.solve(hessian, gradient)
            while (better := self._likelihood(theta + step, design)) < value:
                step = step / 2
                if np.abs(step).max() < 1e-9:
                    break
            if np.abs(step).max() < 1e-6:
                break
            theta, value = theta + step, better
        self.theta = theta
        self.covariance: Floats = np.asarray(np.linalg.inv(self._derivatives(theta, design)[1]))

    def _likelihood(self, theta: Floats, design: Floats) -> float:
        if theta[1] >= 0:
            return -math.inf
        eta = design @ theta
        log_sum = np.logaddexp(0, eta) if self.share else eta**2 / 2
        prior = ((math.log(-theta[1]) - _LOG_SLOPE) / _LOG_SLOPE_SD) ** 2 / 2
        terms = self.weight / self.dispersion * (self.met * eta - self.n * log_sum)
        return float(np.sum(terms) - prior)

    def _derivatives(self, theta: Floats, design: Floats) -> tuple[Floats, Floats]:
        """Gradient, and the negative Hessian with its expected value for the prior."""
        mean, variance = self._moments(design @ theta)
        weight = self.weight / self.dispersion
        gradient = design.T @ (weight * (self.met - self.n * mean))
        hessian = (design * (weight * self.n * variance)[:, None]).T @ design
        gradient[1] -= (math.log(-theta[1]) - _LOG_SLOPE) / _LOG_SLOPE_SD**2 / theta[1]
        hessian[1, 1] += 1 / (_LOG_SLOPE_SD * theta[1]) ** 2
        return gradient, hessian + np.eye(2) * 1e-9

    def _moments(self, eta: Floats) -> tuple[Floats, Floats]:
        if not self.share:
            return eta, np.ones_like(eta)
        mean = 1 / (1 + np.exp(-np.clip(eta, -_MOST_LOG, _MOST_LOG)))
        return mean, mean * (1 - mean)

    def _dispersion(self) -> float:
        """Pearson's, of the runs near the crossing."""
        if self.units <= 2 + 0.5:
            return _UNKNOWN_DISPERSION
        mean, variance = self._moments(self.theta[0] + self.theta[1] * (self.x - self.centre))
        if self.share:
            mean = np.clip(mean, 1e-4, 1 - 1e-4)
            variance = mean * (1 - mean)
        squares = (self.met - self.n * mean) ** 2 / (self.n * variance)
        found = float(np.sum(self.weight * squares)) / (self.units - 2)
        if not self.share:
            return max(_LEAST_DISPERSION, found)
        at_target = float(self._moments(np.array([self.target]))[1][0])
        crowding = float(np.average(self.n * self.crowding**2, weights=self.weight)) / at_target
        usual = crowding * _CROWDING_LEAVES or _USUAL_DISPERSION
        return found + max(0.0, usual - found) * _USUAL_RUNS / (self.units - 2 + _USUAL_RUNS)
