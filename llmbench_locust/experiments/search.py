"""The search for a capacity: the largest load that meets the objectives. Pure: calls a probe.

The load doubles until an objective is clearly missed. After that, each probe is a little below or
above the crossing estimated from all probes (`statistics.crossing`), where it is most informative,
until the interval is narrow enough or the budget is spent. docs/capacity.md describes the method
with its sources, and the coverage of the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llmbench_locust.experiments.evidence import (
    Goal,
    Outcome,
    evidence,
    forgets_after,
    meets,
    saturation,
)
from llmbench_locust.statistics.crossing import MEAN_REACH, SHARE_REACH, Crossing, crossing

#: Probes near the crossing before their spread is trusted.
LEAST_UNITS = 8.0
#: Length of a probe near the crossing, in latencies and in requests, if the budget allows: shorter
#: ones miss the slow episodes of a busy server.
LATENCIES, REQUESTS = 60.0, 500
#: The first such probes are shorter, because the estimate of the crossing is still rough.
FIRST_PART = 1 / 5
#: Maximum share of the budget for one probe.
LARGEST_PART = 1 / 8
#: A doubling probe: share of the probe time, but at most that share of the budget; minimum length
#: in latencies and requests.
QUICK_PART, QUICK_SHARE, QUICK_LATENCIES, QUICK_REQUESTS = 0.25, 1 / 40, 3.0, 10
#: The first probe has fewer requests. It measures the latency, and so the requests in flight at a
#: load (Little's law): a load with less than an eighth of a request in flight needs no probe.
FIRST_REQUESTS, HARDLY_ANY = 4, 1 / 8
#: Minimum and maximum distance of a probe from the crossing, in ln(load).
NEAREST, FURTHEST = 0.02, 0.12
#: Distance of a probe from the crossing on the curve's scale, as a share of the full-weight range.
SPREAD = 0.25
#: Number of correlated requests assumed to equal one independent one, before it is known.
DISPERSION_GUESS = 5.0
#: Probes at the end of the allowed loads needed to show that the capacity is beyond it.
AT_THE_END = 3
SEEDS = 2**32  # numpy has no others
CLOSE = 1 + 1e-9  # tolerance: the bounds were computed by logarithms


@dataclass(frozen=True, slots=True)
class Settings:
    """``budget_s``, ``budget_requests``: None for no limit. ``fewest``: minimum number of requests
    that the dataset makes. ``whole``: loads are integers (users of a closed loop).
    """

    goals: tuple[Goal, ...]
    lowest: float = 0.5
    highest: float = 10_000.0
    tolerance: float = 0.05
    budget_s: float | None = 900.0
    budget_requests: int | None = None
    probe_time_s: float = 20.0
    seed: int = 0
    fewest: int = 1
    whole: bool = False
    level: float = 0.95


#: Load, number of requests, seed → outcome. `StopIteration` ends the search.
Probe = Callable[[float, int, int], Outcome]


@dataclass(frozen=True, slots=True)
class Answer:
    """``verdict``: "found", "below" the lowest load, "at least" the highest, "client" (the client
    was the limit), or "unknown" (nothing was missed or met before the budget was spent).
    ``binding``: number of the goal that limits.
    """

    verdict: str
    settings: Settings
    probes: tuple[Outcome, ...]
    found: Crossing | None = None
    low: float | None = None
    high: float | None = None
    binding: int = 0
    invalid: tuple[Outcome, ...] = ()

    @property
    def load(self) -> float | None:
        if self.verdict != "found" or self.found is None:
            return None
        return float(math.floor(self.found.load)) if self.settings.whole else self.found.load


def search(
    probe: Probe,
    settings: Settings,
    done: Sequence[Outcome] = (),
    on_answer: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Probe until the capacity is known. ``done``: outcomes of an earlier search to continue.

    ``on_answer`` gets the answer so far after each probe.
    """
    state = _Search(probe, settings, list(done), on_answer)
    try:
        state.double()
        state.refine()
    except StopIteration:
        pass
    return state.answer()


class _Search:
    def __init__(
        self,
        probe: Probe,
        settings: Settings,
        done: list[Outcome],
        on_answer: Callable[[Answer], None],
    ) -> None:
        self.settings = settings
        self.outcomes = [o for o in done if not o.problem]
        self.invalid = [o for o in done if o.problem]
        self._probe = probe
        self._on_answer = on_answer
        self._client = False
        self._fitted: tuple[int, list[tuple[int, Crossing]]] = (0, [])

    # --- the two phases

    def double(self) -> None:
        """From the lowest load upwards, until an objective is clearly missed."""
        settings = self.settings
        load = settings.lowest
        for outcome in self.outcomes:  # of an earlier search
            load = max(load, min(2 * outcome.load, settings.highest))
        while not any(self._clearly_missed(o) for o in self.outcomes):
            if self._at(settings.highest):
                return
            latency_s = self.outcomes[-1].latency_s if self.outcomes else 0.0
            longest_s = math.inf if settings.budget_s is None else settings.budget_s * QUICK_SHARE
            quick_s = min(settings.probe_time_s * QUICK_PART, longest_s)
            seconds = max(quick_s, QUICK_LATENCIES * latency_s)
            least = QUICK_REQUESTS if self.outcomes else FIRST_REQUESTS
            self._run(load, seconds, least, quick=True)
            load = min(self._doubled(load), settings.highest)

    def _doubled(self, load: float) -> float:
        """Twice ``load``, or more if hardly a request would be in flight even then."""
        latency_s = 0.0
        if not self.settings.whole and self.outcomes and self._met(self.outcomes[-1]):
            latency_s = self.outcomes[-1].latency_s
        while latency_s and 2 * load * latency_s <= HARDLY_ANY:
            load *= 2
        return 2 * load

    def refine(self) -> None:
        """Below and above the crossing in turn, until the interval is narrow enough."""
        settings = self.settings
        while not self._settled():
            binding, found = self._crossing()
            reach = MEAN_REACH if settings.goals[binding].share is None else SHARE_REACH
            away = min(max(SPREAD * reach / abs(found.slope), NEAREST), FURTHEST)
            if found.units < 3:
                away = min(away, FURTHEST / 2)
            side = away if len(self.outcomes) % 2 else -away
            load = found.load * math.exp(side)
            load = min(max(load, settings.lowest), settings.highest)
            seconds = max(settings.probe_time_s, LATENCIES * self.outcomes[-1].latency_s)
            part = min(1.0, (1 + self._refined()) * FIRST_PART)
            self._run(
                load,
                part * seconds,
                int(part * max(REQUESTS, forgets_after(load, saturation(self.outcomes)))),
            )

    def _refined(self) -> int:
        missed = [self._clearly_missed(o) for o in self.outcomes]
        return len(missed) - missed.index(True) - 1 if any(missed) else 0

    def _settled(self) -> bool:
        settings = self.settings
        if self._beyond():
            return True
        _, found = self._crossing()
        return found.units >= LEAST_UNITS and found.half_width <= settings.tolerance

    # --- probes

    def _run(self, load: float, seconds: float, least: int, *, quick: bool = False) -> None:
        """One probe; repeated once if the client or a worker invalidated it. Raises StopIteration
        if the budget is spent, or the client is the limit. A quick probe only decides whether the
        load may double: even an invalid one can, because a late client makes nothing look better.
        """
        load = float(max(1, round(load))) if self.settings.whole else load
        for attempt in range(2):
            seed = (self.settings.seed + len(self.outcomes) + len(self.invalid)) % SEEDS
            outcome = self._probe(load, self._requests(load, seconds, least), seed)
            if not outcome.problem:
                self.outcomes.append(outcome)
                self._on_answer(self.answer())
                return
            self.invalid.append(outcome)
            if quick and self._met(outcome):
                return
            self._client = attempt == 1
        raise StopIteration

    def _requests(self, load: float, seconds: float, least: int) -> int:
        """Requests for ``seconds``, within the budget. Raises StopIteration once it is spent."""
        settings = self.settings
        rate = self._request_rate(load)
        wanted = max(float(least), rate * seconds)
        every = [*self.outcomes, *self.invalid]
        left = math.inf
        for budget, spent, per_unit in (
            (settings.budget_requests, sum(o.requests for o in every), 1.0),
            (settings.budget_s, sum(o.seconds for o in every), rate),
        ):
            if budget is not None:
                left = min(left, (budget - spent) * per_unit)
                wanted = min(wanted, budget * LARGEST_PART * per_unit)
        enough = max(QUICK_REQUESTS, wanted / 4)
        if left < enough and every:
            raise StopIteration
        return max(min(least, QUICK_REQUESTS), settings.fewest, int(min(wanted, left)))

    def _request_rate(self, load: float) -> float:
        """Requests per second at ``load``; by Little's law for users of a closed loop."""
        if not self.settings.whole:
            return load
        latency_s = self.outcomes[-1].latency_s if self.outcomes else 1.0
        return load / max(latency_s, 1e-3)

    # --- estimates

    def _met(self, outcome: Outcome) -> bool:
        return not outcome.overloaded and all(
            meets(unit, goal) for goal, unit in zip(self.settings.goals, outcome.units, strict=True)
        )

    def _clearly_missed(self, outcome: Outcome) -> bool:
        if outcome.overloaded:
            return True
        for goal, unit in zip(self.settings.goals, outcome.units, strict=True):
            if goal.share is None and unit.value > 1.3:
                return True
            if goal.share is not None and unit.weight:
                spread = goal.share * (1 - goal.share) * DISPERSION_GUESS / unit.weight
                if unit.value / unit.weight < goal.share - 2 * math.sqrt(spread) - 0.02:
                    return True
        return False

    def _crossing(self) -> tuple[int, Crossing]:
        """The goal with the lowest crossing, and that crossing."""
        if not self._crossings():
            raise StopIteration  # no probe had a usable request
        return min(self._crossings(), key=lambda pair: pair[1].load)

    def _crossings(self) -> list[tuple[int, Crossing]]:
        if self._fitted[0] == len(self.outcomes):
            return self._fitted[1]
        settings, most = self.settings, saturation(self.outcomes)
        below = [o for o in self.outcomes if o.load < most] or self.outcomes
        found = []
        for number, goal in enumerate(settings.goals):
            units = [evidence(o, number, goal, most) for o in below]
            units = [u for u in units if u.weight > 0]
            if units:
                found.append((number, crossing(units, goal.share, most=most, level=settings.level)))
        self._fitted = len(self.outcomes), found
        return found

    def _at(self, load: float) -> list[Outcome]:
        return [o for o in self.outcomes if o.load == load]

    def _beyond(self) -> str:
        """ "below" or "at least" if the capacity is outside the allowed loads, else ""."""
        settings = self.settings
        if not self.outcomes:
            return ""
        at = self._crossing()[1].load
        if at < settings.lowest and len(self._at(settings.lowest)) > AT_THE_END:
            return "below"
        if at > settings.highest and len(self._at(settings.highest)) > AT_THE_END:
            return "at least"
        return ""

    def answer(self) -> Answer:
        settings = self.settings
        probes, invalid = tuple(self.outcomes), tuple(self.invalid)
        unknown = Answer("unknown", settings, probes, invalid=invalid)
        if self._client:
            return replace(unknown, verdict="client")
        crossings = self._crossings()
        if not crossings:
            return unknown
        binding, found = self._crossing()
        loads = [o.load for o in probes]
        if found.load < min(loads) or found.load > max(loads):
            beyond = self._beyond()
            return replace(unknown, verdict=beyond or "unknown", found=found, binding=binding)
        low = min(c.low for _, c in crossings)
        high = min(c.high for _, c in crossings)
        if settings.whole:  # like the capacity itself
            low, high = math.floor(low * CLOSE) * 1.0, math.floor(high * CLOSE) * 1.0
        return Answer(
            "found",
            settings,
            probes,
            found,
            low if low * CLOSE >= min(loads) else None,
            high if high <= max(loads) * CLOSE else None,
            binding,
            invalid,
        )
