"""Energy used by the GPUs of a metrics page during a run, from its readings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.server_metrics.reading import Reading

#: If a page was not read for longer than this, the energy is unknown.
MOST_GAP_S = 5.0
#: A run must last at least this many update intervals of the page, because the energy at its ends
#: is known only to within one interval.
LEAST_INTERVALS = 10


@dataclass(frozen=True, slots=True)
class Energy:
    """``joules``: None if unknown; ``reason`` then says why."""

    joules: float | None
    reason: str = ""


def energy_of(readings: Sequence[Reading], start_s: float, end_s: float) -> Energy:
    """Energy between two times: the difference of the energy counter, or the integral of power.

    ``readings``: in time order, from before the start to after the end. An exporter may update its
    values less often than they are read, so only changes of the counter are used. Outside the
    readings, power is that of the first or last reading.
    """
    times = np.clip([start_s, *(r.time_s for r in readings), end_s], start_s, end_s)
    # In runs of many hours the readings are further apart (`watch.thin`).
    if (gap := float(np.diff(times).max())) > max(MOST_GAP_S, (end_s - start_s) / 4000):
        return Energy(None, f"the page was not read for {gap:.0f} s of the run")
    counter, power = (_points(readings, name) for name in ("gpu_energy", "gpu_power"))
    points = counter if counter.shape[1] >= 2 else power
    if points.shape[1] < 2:
        return Energy(None, "the page has no energy and no power")
    if points is counter and np.any(np.diff(counter[1]) < 0):
        return Energy(None, "the energy counter decreased: the driver or exporter was restarted")
    changed = points[:, np.diff(points[1], prepend=np.nan) != 0]
    if points is counter and changed.shape[1] < 2:
        return Energy(None, "the energy counter did not change")
    # Seconds between new values of the page; the length of the run if there was only one.
    gaps = np.diff(changed[0, 1:])
    interval_s = float(np.median(gaps)) if len(gaps) else end_s - start_s
    if end_s - start_s < LEAST_INTERVALS * interval_s:
        return Energy(None, _too_short(interval_s, end_s - start_s))
    if points is power:
        return Energy(_integral(power, start_s, end_s))
    first = float(counter[0, 0])
    if interval_s > 2 * np.median(np.diff(counter[0])):
        # The first value may have been old when it was read; estimate when it was new.
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
        f"the page has a new value every {interval_s:.1f} s, too rarely for a run of {run_s:.0f} s "
        f"(at least {LEAST_INTERVALS} values); shorten the exporter's collection interval"
    )
