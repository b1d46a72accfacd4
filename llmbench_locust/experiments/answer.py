"""Formats the answer of a capacity search as text and as capacity.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from llmbench_locust._version import __version__
from llmbench_locust.experiments.evidence import Outcome
from llmbench_locust.experiments.search import Answer
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import number
from llmbench_locust.statistics.crossing import Unit
from llmbench_locust.statistics.distributions import t_quantile

CURVE = 200  # points of the fitted curve
MOST = 1e12  # larger than any figure of a probe


def text(answer: Answer) -> str:
    """The first lines: the capacity with its interval, or why there is none."""
    settings, unit = answer.settings, _unit(answer)
    if answer.verdict == "client":
        return (
            "No capacity: the client was the limit twice at "
            f"{answer.invalid[-1].load:.4g} {unit} ({answer.invalid[-1].problem}).\n"
            f"What to do: {answer.invalid[-1].advice}."
        )
    if answer.verdict == "below":
        return f"Capacity: below {settings.lowest:g} {unit}: lower --min to find it"
    if answer.verdict == "at least":
        return f"Capacity: at least {settings.highest:g} {unit}: raise --max to find it"
    if answer.load is None:
        return "Capacity: not known; too few probes were run. Use a larger --budget or --min"
    lines = [
        f"Capacity: {_figure(answer.load)} {unit}   ({_interval(answer, unit)})" + _largest(answer)
    ]
    met, missed = bounds(answer)
    if met is not None:
        goal = settings.goals[answer.binding]
        lines.append(f"  highest load shown to meet {goal.name}: {_shown(met, unit, True)}")
    if missed is not None:
        lines.append(f"  lowest load shown to miss it: {_shown(missed, unit, False)}")
    lines.append(f"  limited by: {_limit(answer)}")
    return "\n".join(lines)


def spent(answer: Answer, seconds: float) -> str:
    """What the search took, a line. ``seconds``: with those of earlier parts."""
    every = (*answer.probes, *answer.invalid)
    minutes, rest = divmod(round(seconds), 60)
    took = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    invalid = len(answer.invalid)
    return f"{len(every)} probes, {sum(o.requests for o in every):,} requests, {took}. " + (
        f"{invalid} of the probes did not count: the client was the limit, or a worker was lost."
        if invalid
        else "The client was not the limit in any of them."
    )


class Shown(NamedTuple):
    """A probe that proves one side on its own: ``share`` and the bound of its interval."""

    load: float
    share: float
    bound: float


def bounds(answer: Answer) -> tuple[Shown | None, Shown | None]:
    """For the limiting goal: the highest load shown to meet it, the lowest shown to miss it."""
    goal = answer.settings.goals[answer.binding]
    if goal.share is None or answer.found is None:
        return None, None
    met, missed = [], []
    for outcome in answer.probes:
        unit = outcome.units[answer.binding]
        if unit.weight and not outcome.overloaded:
            low, high = _wilson(unit, answer.found.dispersion, answer.found.units)
            share = unit.value / unit.weight
            if low >= goal.share:
                met.append(Shown(outcome.load, share, low))
            elif high < goal.share:
                missed.append(Shown(outcome.load, share, high))
    return max(met, default=None), min(missed, default=None)


def _wilson(unit: Unit, dispersion: float, units: float) -> tuple[float, float]:
    """Wilson's interval with the effective sample size, from the dispersion of all probes."""
    size, share = unit.weight / dispersion, unit.value / unit.weight
    t2 = t_quantile(0.975, max(1.0, units - 2)) ** 2
    centre = (share + t2 / (2 * size)) / (1 + t2 / size)
    half = math.sqrt(t2 * share * (1 - share) / size + t2**2 / (4 * size**2)) / (1 + t2 / size)
    return max(0.0, centre - half), min(1.0, centre + half)


def _unit(answer: Answer) -> str:
    return "users" if answer.settings.whole else "req/s"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def _interval(answer: Answer, unit: str) -> str:
    percent = f"{answer.settings.level:.0%} interval"
    if answer.low is None and answer.high is None:
        return "no interval: too few probes near it"
    low = "unknown" if answer.low is None else _figure(answer.low)
    high = "unknown" if answer.high is None else _figure(answer.high)
    return f"{percent} {low} to {high}"


def _largest(answer: Answer) -> str:
    largest = max((o.throughput for o in answer.probes), default=0.0)
    if answer.settings.whole or not largest or answer.load is None:
        return ""
    return (
        f"   {answer.load / largest:.0%} of the largest throughput seen ({_figure(largest)} req/s)"
    )


def _shown(shown: Shown, unit: str, met: bool) -> str:
    word = "at least" if met else "at most"
    return f"{_figure(shown.load)} {unit}, {shown.share:.1%} ({word} {shown.bound:.1%})"


def _limit(answer: Answer) -> str:
    """Which objectives requests near the capacity miss; if none does, those at a higher load."""
    goal = answer.settings.goals[answer.binding]
    if goal.name != answer.settings.goals[0].name:  # not --goodput, of which the misses are
        return goal.name
    load = answer.load or 0.0
    near, where = [o for o in answer.probes if abs(o.load - load) < 0.1 * load], "near the capacity"
    if not any(any(o.misses.values()) for o in near):
        above = [o for o in answer.probes if o.load > load and any(o.misses.values())]
        near = sorted(above, key=lambda o: o.load)[:1]
        where = f"at {_figure(near[0].load)} {_unit(answer)}" if near else ""
    rows = {name: [o.misses[name] for o in near] for name in (near[0].misses if near else {})}
    if not any(rows.values()):
        return goal.name
    words = ", ".join(
        f"{sum(v) / len(v):.1%} of requests miss {name}"
        for name, v in sorted(rows.items(), key=lambda row: -sum(row[1]))
    )
    return f"{goal.name}: {where} {words}"


def as_dict(answer: Answer) -> Json:
    """capacity.json."""
    met, missed = bounds(answer)
    return {
        "version": __version__,
        "verdict": answer.verdict,
        "unit": "users" if answer.settings.whole else "requests/s",
        "capacity": answer.load,
        "low": answer.low,
        "high": answer.high,
        "level": answer.settings.level,
        "limited_by": answer.settings.goals[answer.binding].name,
        "shown_to_meet": None if met is None else met._asdict(),
        "shown_to_miss": None if missed is None else missed._asdict(),
        "goals": [dataclasses.asdict(goal) for goal in answer.settings.goals],
        "settings": {
            key: value
            for key, value in dataclasses.asdict(answer.settings).items()
            if key != "goals"
        },
        "dispersion": None if answer.found is None else answer.found.dispersion,
        "curve": _curve(answer),
        "probes": [_probe(o, answer) for o in (*answer.probes, *answer.invalid)],
    }


def _probe(outcome: Outcome, answer: Answer) -> Json:
    row = dataclasses.asdict(outcome)
    row["units"] = [list(u[1:]) for u in outcome.units]
    goal, unit = answer.settings.goals[answer.binding], outcome.units[answer.binding]
    row["share"] = row["share_low"] = row["share_high"] = None
    if goal.share is not None and unit.weight:
        row["share"] = unit.value / unit.weight
        if answer.found is not None:
            found = answer.found
            row["share_low"], row["share_high"] = _wilson(unit, found.dispersion, found.units)
    elif goal.share is None:
        row["share"] = unit.value
    return row


def _curve(answer: Answer) -> list[list[float]]:
    """[load, share (or mean over its limit)] of the fitted curve over the probed loads."""
    if answer.found is None or len(answer.probes) < 2:
        return []
    loads = [o.load for o in answer.probes]
    x = np.geomspace(min(loads), max(loads), CURVE)
    return [list(pair) for pair in zip(x.tolist(), answer.found.curve(x).tolist(), strict=True)]


def outcomes_of(document: Json) -> list[Outcome]:
    """The probes of a capacity.json. Raises ValueError, KeyError or TypeError for a wrong one."""
    rows: Iterable[Json] = document["probes"]
    shares = [goal["share"] is not None for goal in document["goals"]]
    return [_outcome_of(row, shares) for row in rows]


def _outcome_of(row: Json, shares: list[bool]) -> Outcome:
    """``shares``: whether each goal is a share of the requests, and not a mean."""
    fields = [f for f in dataclasses.fields(Outcome) if f.name != "units" and f.name in row]
    units = [Unit(float(row["load"]), *unit) for unit in row["units"]]
    counts = [row[f.name] for f in fields if f.type in ("int", "float")]
    counts += [*row["misses"].values(), *(v for unit in units for v in unit[:3])]
    every = [number(v) for v in (*counts, *(v for unit in units for v in unit[3:]))]
    if (
        not all(value is not None and abs(value) < MOST for value in every)
        or min(counts) < 0
        or not (row["load"] and row["requests"])
        or any(u.value > u.weight for u, share in zip(units, shares, strict=True) if share)
        or not all(isinstance(row[f.name], str) for f in fields if f.type == "str")
    ):
        raise ValueError(f"the figures of its probe at {row['load']!r} are not those of a probe")
    return Outcome(units=tuple(units), **{f.name: row[f.name] for f in fields})
