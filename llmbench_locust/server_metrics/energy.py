"""Energy that the GPUs of a page took during a run, from the readings of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.server_metrics.reading import Reading

#: A page that was not read for longer than this leaves the energy unknown.
MOST_GAP_S = 5.0
#: A run must be this many times as long as what lies between two values of the page: energy at its
#: ends is known no better than that.
LEAST_INTERVALS = 10


@dataclass(frozen=True, slots=True)
class Energy:
    """``joules``: None where it is unknown; ``reason`` then says why."""

    joules: float | None
    reason: str = ""


def energy_of(readings: Sequence[Reading], start_s: float, end_s: float) -> Energy:
    """Energy between two times: the energy counter's difference, or the integral of power.

    ``readings``: in order of time, from before the start to after the end. An exporter may renew
    its values more rarely than they are read, so what counts is when the counter changed. Before
    the start and after the end, power is as the first and the last reading have it.
    """
    times = np.clip([start_s, *(r.time_s for r in readings), end_s], start_s, end_s)
    # Readings of a run of many hours are further apart (`watch.thin`).
    if (gap := float(np.diff(times).max())) > max(MOST_GAP_S, (end_s - start_s) / 4000):
        return Energy(None, f"the page was not read for {gap:.0f} s of the run")
    counter, power = (_points(readings, name) for name in ("gpu_energy", "gpu_power"))
    points = counter if counter.shape[1] >= 2 else power
    if points.shape[1] < 2:
        return Energy(None, "the page has neither energy nor power")
    if points is counter and np.any(np.diff(counter[1]) < 0):
        return Energy(None, "the energy counter fell: the driver or the exporter was restarted")
    changed = points[:, np.diff(points[1], prepend=np.nan) != 0]
    if points is counter and changed.shape[1] < 2:
        return Energy(None, "the energy counter did not move")
    # How often the page has a new value; the length of the run where it had none in between.
    gaps = np.diff(changed[0, 1:])
    interval_s = float(np.median(gaps)) if len(gaps) else end_s - start_s
    if end_s - start_s < LEAST_INTERVALS * interval_s:
        return Energy(None, _too_short(interval_s, end_s - start_s))
    if points is power:
        return Energy(_integral(power, start_s, end_s))
    first = float(counter[0, 0])
    if interval_s > 2 * np.median(np.diff(counter[0])):
        # The first value is as old when it is read as the second one let wait for itself.
        first = max(first, float(changed[0, 1]) - interval_s)
    joules, last = float(changed[1, -1] - changed[1, 0]), float(changed[0, -1])
    before, after = power[1, [0, -1]] if power.shape[1] else [joules / (last - first)] * 2
    return Energy(joules - float(before * (start_s - first) + after * (last - end_s)))


def _points(readings: Sequence[Reading], name: str) -> NDArray[np.float64]:
    """(times, values), shape (2, n), of the readings that have the figure."""
    found = [(r.time_s, r.values[name]) for r in readings if name in r.values]
    return np.array(found, np.float64).reshape(-1, 2).T


def _integral(power: NDArray[np.float64], start_s: float, end_s: float) -> float:
    """Trapezoids between the readings; power at either end is that of the nearest reading."""
    times, watts = power
    inside = (times > start_s) & (times < end_s)
    at = np.array([start_s, *times[inside], end_s])
    height = np.array([watts[0], *watts[inside], watts[-1]])
    return float(np.dot(np.diff(at), (height[1:] + height[:-1]) / 2))


def _too_short(interval_s: float, run_s: float) -> str:
    return (
        f"the page has a new value every {interval_s:.1f} s, too few for a run of {run_s:.0f} s "
        f"(at least {LEAST_INTERVALS}); let the exporter collect more often"
    )
