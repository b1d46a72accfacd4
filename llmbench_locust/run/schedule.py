"""Makes tickets from samples: due times, models, and which turns belong together. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.arrivals import Ramp, arrival_offsets, trace_offsets
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.ages import session_starts
from llmbench_locust.workload.multi_turn import think_times
from llmbench_locust.workload.sample import SampleRequest


def ramp_of(config: RunConfig) -> Ramp | None:
    start, end = config.ramp_up_start_rps, config.ramp_up_end_rps
    if config.ramp_up_strategy is None or start is None or end is None:
        return None
    return Ramp(config.ramp_up_strategy, start, end)


def offsets_for(config: RunConfig, samples: Sequence[SampleRequest]) -> NDArray[np.float64]:
    """Offsets in seconds (float64, shape (n,)): the trace's times if every sample has one."""
    own = [s.due_s for s in samples if s.due_s is not None]
    if samples and len(own) == len(samples):
        return trace_offsets(np.array(own, np.float64), config.trace_speedup)
    return planned_offsets(config, len(samples))


def planned_offsets(config: RunConfig, n: int) -> NDArray[np.float64]:
    """Offsets of ``n`` requests in seconds (float64, shape (n,)), by rate or ramp."""
    return arrival_offsets(
        n,
        request_rate=config.request_rate,
        burstiness=config.burstiness,
        seed=config.seed if config.arrival_seed is None else config.arrival_seed,
        ramp=ramp_of(config),
    )


def _head_offsets(
    config: RunConfig, samples: Sequence[SampleRequest], heads: Sequence[SampleRequest]
) -> NDArray[np.float64]:
    """`offsets_for` the first requests; with ``--user-rate``, when a user can take a session."""
    if config.user_rate_s is None or config.users is None:
        return offsets_for(config, heads)
    turns = Counter(sample.conversation for sample in samples)
    counts = [turns[head.conversation] for head in heads]
    return session_starts(counts, config.users, config.user_rate_s, config.seed)


def make_tickets(config: RunConfig, samples: Sequence[SampleRequest]) -> list[Ticket]:
    """The tickets of a run in the order of their due times.

    ``index`` is the sample's position in the workload. Later turns of a conversation are inside its
    first ticket: each is due when the think time after the previous response has passed.
    """
    heads = [(i, s) for i, s in enumerate(samples) if not s.turn]
    due = _head_offsets(config, samples, [s for _, s in heads])
    keys = (i if s.conversation is None else s.conversation for i, s in enumerate(samples))
    models = list(islice(lora_models(config, keys), len(samples)))
    thinks = think_times(config, len(samples))
    zero = min((s.due_s for _, s in heads if s.due_s is not None), default=0.0)

    def later_due(sample: SampleRequest) -> float:
        due_s = float("nan") if sample.due_s is None else sample.due_s
        return (due_s - zero) / config.trace_speedup

    pace_s = config.user_rate_s or 0.0
    later: dict[int, list[Ticket]] = {}
    for i, sample in enumerate(samples):
        if sample.turn and sample.conversation is not None:
            delay = thinks[i] if sample.delay_s is None else sample.delay_s
            delay = 0.0 if config.user_rate_s is not None else delay
            later.setdefault(sample.conversation, []).append(
                Ticket(i, later_due(sample), sample, models[i], delay, pace_s)
            )
    tickets = [
        Ticket(i, float(due[k]), sample, models[i], following=_following(later, sample))
        for k, (i, sample) in enumerate(heads)
    ]
    tickets.sort(key=lambda t: t.due_s)  # stable: equal times keep the workload's order
    return tickets


def _following(later: dict[int, list[Ticket]], sample: SampleRequest) -> list[Ticket]:
    if sample.conversation is None:
        return []
    return sorted(later.get(sample.conversation, []), key=lambda t: t.sample.turn or 0)


def lora_models(config: RunConfig, keys: Iterable[int]) -> Iterator[str]:
    """Each request's model: "" without ``--lora-modules``, else random, round robin, or one per
    session. ``keys``: the session number of each request.
    """
    modules = config.lora_modules
    if modules and config.lora_assignment == "session":
        return (modules[key % len(modules)] for key in keys)
    if not modules or config.lora_assignment == "round-robin":
        return cycle(modules or ("",))
    rng = random.Random(config.seed)
    return iter(lambda: rng.choice(modules), None)


#: The first seconds of a schedule determine how many connections are opened before it starts.
AHEAD_S = 10.0
#: At most this many, or as many as requests that one client can start within one latency.
MOST_AHEAD, STARTS_PER_S = 2048, 20_000
MOST_AT_ALL = 16_384


def connections_ahead(due_s: NDArray[np.float64], cap: int | None, latency_s: float | None) -> int:
    """How many connections to open before the clock starts.

    The peak number of requests in flight in the first seconds of the schedule, if each takes
    ``latency_s`` (from the ready check; None if unknown, which counts as 0). At most the
    concurrency limit, and what one client can have in flight, since it starts requests one after
    another. ``due_s``: due times in seconds, ascending.
    """
    early = due_s[: int(np.searchsorted(due_s, AHEAD_S, side="right"))]
    if not len(early):
        return 0
    began = np.searchsorted(early, early - (latency_s or 0.0), side="left")
    at_once = int(np.max(np.arange(1, len(early) + 1) - began))
    startable = min(int(STARTS_PER_S * (latency_s or 0.0)), MOST_AT_ALL)
    return min(at_once, max(MOST_AHEAD, startable), len(early) if cap is None else cap)
