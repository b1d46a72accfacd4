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
CALIBRATION = 1.2
_MOST_FREE = 0.1  # of the rate: what free arrivals vary by in the shortest probes that count
_FAR = 1e-3  # weight of a measurement far from the crossing
_UNKNOWN_DISPERSION = 20.0  # until three runs lie near the crossing
_MOST_LOG = 50.0  # bound of a logarithm that is turned back into a factor


class Unit(NamedTuple):
    """One run at ``load``. Share: ``value`` of ``weight`` requests met the objective. Mean: the
    figure over its limit is ``value``, where below 1 is good; ``weight`` is not used.
    """

    load: float
    value: float
    weight: float


@dataclass(frozen=True, slots=True)
class Kind:
    """``reach``: how far from the target, on the line's scale, a run counts in full.

    ``least_dispersion``: of runs that lie on the curve by chance.
    """

    reach: float
    least_dispersion: float


SHARE = Kind(2.0, 1.0)
MEAN = Kind(0.6, 1e-3)
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


def crossing(
    units: Sequence[Unit], target: float | None, *, free: float = 0.0, level: float = 0.95
) -> Crossing:
    """The load at which the share falls to ``target``, or the mean rises to its limit (None).

    ``free``: runs hold the mean rate of their n arrivals exactly, where free arrivals would vary by
    ``free`` ÷ √n about it (1 for a Poisson process, 0 for a closed loop); the curve is averaged
    over that, which moves the crossing down.
    """
    line = _Line(units, target)
    line.fit_locally(free)
    share = _standard(line.root, line.centre, line.covariance, line.dispersion)
    step = 1e-3
    steepness = abs(line.smooth(line.root + step, free) - line.smooth(line.root - step, free))
    margin = t_quantile((1 + level) / 2, max(1.0, line.units - 2)) * share * 2 * step / steepness
    reach = min(CALIBRATION * margin, _MOST_LOG)
    return Crossing(
        load=math.exp(line.root),
        low=math.exp(line.root - reach),
        high=math.exp(min(line.root + reach, _MOST_LOG)),
        slope=float(line.theta[1]),
        dispersion=line.dispersion,
        units=line.units,
        curve=lambda loads: line.curve(np.log(loads), free),
    )


def _standard(at: float, centre: float, covariance: Floats, dispersion: float) -> float:
    """Standard error of the line at ``at``."""
    row = np.array([1.0, at - centre])
    return math.sqrt(dispersion * float(row @ covariance @ row))


class _Line:
    """η = θ₀ + θ₁ (x − centre), x = ln load."""

    def __init__(self, units: Sequence[Unit], target: float | None) -> None:
        self.share = target is not None
        self.kind = SHARE if self.share else MEAN
        self.x = np.log([u.load for u in units])
        value = np.array([u.value for u in units], np.float64)
        n = np.array([u.weight for u in units], np.float64)
        if target is not None:
            self.target = math.log(target / (1 - target)) if target < 1 else 7.0
            # Half a request at the target: a run in which all met it has a finite logit.
            self.met, self.n = value + 0.5 * min(target, 0.999), n + 0.5
        else:
            self.target = 0.0
            self.n = np.full(len(units), _MEAN_WEIGHT)
            self.met = -np.log(np.maximum(value, 1e-9)) * self.n
        self.requests = n
        self.weight = np.ones(len(units))

    def fit_locally(self, free: float) -> None:
        """Fit, look which runs are near, fit again."""
        for step in range(_LOCAL_STEPS):
            self._fit()
            self.root = self._root(free)
            away = np.abs(self.theta[1] * (self.x - self.root)) / self.kind.reach
            near = np.clip(2 - away, _FAR, 1.0)
            if np.allclose(near, self.weight, atol=_FAR):
                break
            self.weight = near if step >= _LOCAL_STEPS - 2 else (self.weight + near) / 2
        self._fit()
        self.root = self._root(free)
        self.units = float(self.weight.sum())
        self.dispersion = self._dispersion()

    def curve(self, x: Floats, free: float) -> Floats:
        """Share, or mean over its limit, at ln(load) ``x``, averaged over free arrivals."""
        size = float(np.average(self.requests, weights=self.weight * self.requests))
        spread = math.sqrt(3.0) * min(free / math.sqrt(max(size, 1.0)), _MOST_FREE)
        parts = ((-spread, 1 / 6), (0.0, 2 / 3), (spread, 1 / 6))  # Gauss and Hermite, 3 points
        return np.asarray(sum(q * self._value(x + away) for away, q in parts))

    def smooth(self, x: float, free: float) -> float:
        """The line's scale, after averaging."""
        value = float(self.curve(np.array([x]), free)[0])
        if not self.share:
            return -math.log(max(value, 1e-300))
        value = min(max(value, 1e-12), 1 - 1e-12)
        return math.log(value / (1 - value))

    def _value(self, x: Floats) -> Floats:
        eta = np.clip(self.theta[0] + self.theta[1] * (x - self.centre), -_MOST_LOG, _MOST_LOG)
        return np.asarray(1 / (1 + np.exp(-eta)) if self.share else np.exp(-eta))

    def _root(self, free: float) -> float:
        intercept, slope = self.theta
        root = self.centre + (self.target - intercept) / slope
        for _ in range(8):
            root += float(np.clip((self.target - self.smooth(root, free)) / slope, -1.0, 1.0))
        return float(np.clip(root, self.x.min() - 3.0, self.x.max() + 3.0))

    def _fit(self) -> None:
        """Newton's method with step halving. The slope's prior keeps it negative."""
        self.centre = float(np.average(self.x, weights=self.weight * self.n))
        design = np.stack([np.ones_like(self.x), self.x - self.centre], 1)
        theta = np.array([self.target, -math.exp(_LOG_SLOPE)])
        value = self._likelihood(theta, design)
        for _ in range(_NEWTON_STEPS):
            gradient, hessian = self._derivatives(theta, design)
            step = np.linalg.solve(hessian, gradient)
            while (better := self._likelihood(theta + step, design)) < value:
                step = step / 2
                if np.abs(step).max() < 1e-9:
                    break
            if np.abs(step).max() < 1e-8:
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
        return float(np.sum(self.weight * (self.met * eta - self.n * log_sum)) - prior)

    def _derivatives(self, theta: Floats, design: Floats) -> tuple[Floats, Floats]:
        """Gradient, and the negative Hessian with its expected value for the prior."""
        mean, variance = self._moments(design @ theta)
        gradient = design.T @ (self.weight * (self.met - self.n * mean))
        hessian = (design * (self.weight * self.n * variance)[:, None]).T @ design
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
        if self.units <= 2.5:
            return _UNKNOWN_DISPERSION
        mean, variance = self._moments(self.theta[0] + self.theta[1] * (self.x - self.centre))
        if self.share:
            mean = np.clip(mean, 1e-4, 1 - 1e-4)
            variance = mean * (1 - mean)
        squares = (self.met - self.n * mean) ** 2 / (self.n * variance)
        found = float(np.sum(self.weight * squares)) / (self.units - 2)
        return max(self.kind.least_dispersion, found)
