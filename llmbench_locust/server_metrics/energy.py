"""Energy that the GPUs of a page took during a run, from the readings of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

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


@dataclass(frozen=True, slots=True)
class _Point:
    """``value``: joules of the counter, or watts."""

    time_s: float
    value: float


def energy_of(readings: Sequence[Reading], start_s: float, end_s: float) -> Energy:
    """Energy between two times: the energy counter's difference, or the integral of power.

    ``readings``: in order of time, from before the start to after the end. An exporter may renew
    its values more rarely than they are read, so what counts is when the counter changed. Before
    the start and after the end, power is as the first and the last reading have it.
    """
    gap = _longest_gap([r.time_s for r in readings], start_s, end_s)
    if gap > MOST_GAP_S:
        return Energy(None, f"the page was not read for {gap:.0f} s of the run")
    counter = [_Point(r.time_s, r.values["gpu_energy"]) for r in readings if _has(r, "gpu_energy")]
    power = [_Point(r.time_s, r.values["gpu_power"]) for r in readings if _has(r, "gpu_power")]
    if len(counter) >= 2:
        return _by_counter(counter, power, start_s, end_s)
    if len(power) >= 2:
        return _by_power(power, start_s, end_s)
    return Energy(None, "the page has neither energy nor power")


def _has(reading: Reading, name: str) -> bool:
    return name in reading.values


def _longest_gap(times: list[float], start_s: float, end_s: float) -> float:
    inside = [min(max(t, start_s), end_s) for t in times]
    return max(b - a for a, b in pairwise([start_s, *inside, end_s]))


def _by_counter(counter: list[_Point], power: list[_Point], start_s: float, end_s: float) -> Energy:
    if any(b.value < a.value for a, b in pairwise(counter)):
        return Energy(None, "the energy counter fell: the driver or the exporter was restarted")
    changes = _changes(counter)
    if len(changes) < 2:
        return Energy(None, "the energy counter did not move")
    interval_s = _interval_s(changes, end_s - start_s)
    if end_s - start_s < LEAST_INTERVALS * interval_s:
        return Energy(None, _too_short(interval_s, end_s - start_s))
    first = counter[0].time_s
    if interval_s > 2 * median(b.time_s - a.time_s for a, b in pairwise(counter)):
        # The first value is as old when it is read as the second one let wait for itself.
        first = max(first, changes[1].time_s - interval_s)
    slope = (changes[-1].value - changes[0].value) / (changes[-1].time_s - first)
    before, after = (power[0].value, power[-1].value) if power else (slope, slope)
    outside = before * (start_s - first) + after * (changes[-1].time_s - end_s)
    return Energy(changes[-1].value - changes[0].value - outside)


def _by_power(power: list[_Point], start_s: float, end_s: float) -> Energy:
    """Trapezoids between the readings; power at either end is that of the nearest reading."""
    inside = [p for p in power if start_s < p.time_s < end_s]
    points = [_Point(start_s, power[0].value), *inside, _Point(end_s, power[-1].value)]
    interval_s = _interval_s(_changes(power), end_s - start_s)
    if end_s - start_s < LEAST_INTERVALS * interval_s:
        return Energy(None, _too_short(interval_s, end_s - start_s))
    return Energy(sum((a.value + b.value) / 2 * (b.time_s - a.time_s) for a, b in pairwise(points)))


def _changes(points: list[_Point]) -> list[_Point]:
    return [points[0], *(b for a, b in pairwise(points) if b.value != a.value)]


def _interval_s(changes: list[_Point], run_s: float) -> float:
    """How often the page has a new value; the length of the run where it had none in between."""
    gaps = [b.time_s - a.time_s for a, b in pairwise(changes[1:])]
    return median(gaps) if gaps else run_s


def _too_short(interval_s: float, run_s: float) -> str:
    return (
        f"the page has a new value every {interval_s:.1f} s, too few for a run of {run_s:.0f} s "
        f"(at least {LEAST_INTERVALS}); let the exporter collect more often"
    )
