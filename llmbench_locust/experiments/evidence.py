"""The outcome of a capacity search's probe, and its weight as evidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmbench_locust.statistics.crossing import Unit

#: A probe of fewer latencies has mostly seen an empty server fill up, and counts less.
FULL_LATENCIES = 10.0
#: A queue that began empty is steady after about this many requests ÷ idle², where idle is the
#: unused share of the server's throughput (Whitt, "Planning queueing simulations", 1989).
SLOW, LEAST_IDLE = 8.0, 0.01
#: The mean ÷ limit assumed for a probe that misses every objective.
MISSED = 10.0


@dataclass(frozen=True, slots=True)
class Goal:
    """``share`` of the requests that must meet it; None: the figure is at most its limit."""

    name: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe. ``units``: one for each goal. ``requests``: number sent; ``seconds``: total
    duration. ``latency_s``: mean end-to-end latency. ``throughput``, ``saturated``: see
    `statistics.transients.completion_rate`.

    ``misses``: share of requests that miss each objective. ``problem``: how the client or a worker
    invalidated it, "" if it is valid; ``advice``: what to do about it. ``file``: its result.
    """

    load: float
    units: tuple[Unit, ...]
    requests: int
    seconds: float
    latency_s: float
    throughput: float
    seed: int = 0
    overloaded: bool = False
    saturated: bool = False
    problem: str = ""
    advice: str = ""
    misses: dict[str, float] = field(default_factory=dict)
    file: str = ""


def meets(unit: Unit, goal: Goal) -> bool:
    return unit.value <= 1 if goal.share is None else unit.value >= goal.share * unit.weight


def saturation(outcomes: Sequence[Outcome]) -> float:
    """The load that saturates the server: the highest throughput observed, inf if no probe
    saturated it. For unsaturated probes two standard errors less, because arrivals determine it.
    """
    if not any(o.saturated for o in outcomes):
        return math.inf
    return max(
        o.throughput * (1.0 if o.saturated else 1 - 2 / math.sqrt(o.requests)) for o in outcomes
    )


def forgets_after(load: float, most: float) -> float:
    """Requests after which a queue at ``load`` that began empty is in its steady state. ``most``:
    the load that saturates the server.
    """
    return SLOW / max(1 - load / most, LEAST_IDLE) ** 2


def evidence(outcome: Outcome, number: int, goal: Goal, most: float) -> Unit:
    """The outcome as evidence for goal ``number``. An overloaded probe misses every objective,
    regardless of its first requests. A short probe has less weight; near saturation only if it met
    the objective, because its queue began empty.
    """
    unit = outcome.units[number]
    part = 1.0
    if outcome.latency_s:
        part = min(1.0, outcome.seconds / (outcome.latency_s * FULL_LATENCIES))
    if not outcome.overloaded and meets(unit, goal):
        part *= min(1.0, outcome.requests / forgets_after(outcome.load, most))
    part *= part
    if goal.share is not None:
        met = 0.0 if outcome.overloaded else unit.value * part
        return unit._replace(value=met, weight=unit.weight * part)
    value = max(unit.value, MISSED) if outcome.overloaded else unit.value
    return unit._replace(value=value, weight=part if unit.weight else 0.0)
