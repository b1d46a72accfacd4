"""What a run would send, without sending anything: for `--dry-run`, and for the start form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmbench_locust.errors import SetupError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.redact import without_user
from llmbench_locust.run.loading import load_workload
from llmbench_locust.run.schedule import connections_ahead, make_tickets, planned_offsets, ramp_of
from llmbench_locust.run.wiring import wire_config
from llmbench_locust.users.session import Session
from llmbench_locust.workload.sample import SampleRequest

#: Characters of the sample body that are shown.
BODY_CHARS = 800


def preview(environment: object, config: RunConfig) -> str:
    """The plan in a few lines. Raises ConfigError, SetupError."""
    if config.model is None:
        config = replace(config, model="MODEL")
    _, samples, stream = load_workload(config)
    if not samples:
        raise SetupError("the workload is empty: nothing to send")
    if stream is None:
        due, count = np.array([t.due_s for t in make_tickets(config, samples)]), f"{len(samples)}"
    elif stream.total is None:
        due, count = np.zeros(len(samples)), f"as many as {config.duration_s:g} s take"
    else:
        due, count = planned_offsets(config, stream.total), f"{stream.total}"
    of = "" if stream is None else f" (of the first {len(samples)})"
    ahead = config.prewarm_connections
    if ahead is None:
        ahead = connections_ahead(due, config.max_concurrency, None)
    rate = "all at once" if due[-1] == 0 else f"{len(due) / due[-1]:.2f} req/s"
    capped = f", at most {config.max_concurrency} in flight" if config.max_concurrency else ""
    lines = [
        f"Requests:             {count} to {without_user(config.base_url)}{config.endpoint}",
        f"Arrivals:             {rate}, the last after {due[-1]:.1f} s{capped}",
        f"Input tokens:         {_lengths([s.prompt_len for s in samples])}{of}",
        f"Output tokens:        {_lengths([s.expected_output_len or 0 for s in samples])}{of}",
        f"Connections at start: {ahead} (before the ready check's latency is known)",
        f"First body:           {_body(environment, config, samples[0])}",
        "Nothing was sent (--dry-run).",
    ]
    return "\n".join(lines)


def outlook(config: RunConfig, *, planned: bool) -> str:
    """What a configuration would do, in one sentence; loads nothing. ``planned``: arrivals follow a
    plan, else users have their own tasks.
    """
    where = "the built-in simulator" if config.sim else servers(config)
    if not planned:
        return f"Requests of the locustfile's users, to {where}."
    if config.capacity:
        return f"A search for the capacity of {where}."
    runs = f"{config.repeat} runs of " if config.repeat > 1 else ""
    text = f"{runs}{_traffic(config)}, to {where}."
    return text[0].upper() + text[1:]


def servers(config: RunConfig) -> str:
    """The servers of a run for a line of text."""
    more = len(config.base_urls) - 1
    return without_user(config.base_url) + (f" and {more} more" if more else "")


def _sessions(config: RunConfig) -> str:
    """Only the first request of a session is due by the rate; the others wait for responses."""
    n, rate = config.num_prompts, config.request_rate
    what = "every session of the dataset" if n < 0 else f"{n:,} requests in sessions"
    if config.num_sessions is not None:
        what = f"{config.num_sessions:,} sessions"
    if config.users is not None and config.user_rate_s is not None:
        how = f"of {config.users} users"
    elif config.concurrent_sessions is not None:
        how = f"{config.concurrent_sessions} sessions at a time"
    elif config.self_timed:
        how = "which start at the times of the trace"
    elif config.ramp_up_strategy is not None:
        how = "which start at a rising rate"
    else:
        how = "which start " + ("at once" if rate == float("inf") else f"at {rate:g} per second")
    return f"{what}, {how}"


def _traffic(config: RunConfig) -> str:
    n, cap = config.num_prompts, config.max_concurrency
    capped = f", at most {cap} at a time" if cap else ""
    if config.multi_turn or config.dataset.sessions:
        return _sessions(config) + (f", at most {cap} requests at a time" if cap else "")
    if config.self_timed:
        return f"up to {n:,} requests at the times of the trace{capped}"
    if n < 0:
        return f"every row of the dataset{capped}"
    ramp = ramp_of(config)
    if config.request_rate == float("inf") and ramp is None:
        if config.duration_s is not None:
            return f"requests for {config.duration_s:g}\N{NO-BREAK SPACE}s, {cap} at a time"
        return f"{n:,} requests, {f'{cap} at a time' if cap else 'all at once'}"
    interval_s = 1 / config.request_rate
    if ramp is not None:
        interval_s = float(np.mean(1 / np.maximum(ramp.rates(1000), 1e-9)))
    return f"about {n:,} requests over {n * interval_s:,.0f}\N{NO-BREAK SPACE}s{capped}"


def _lengths(values: list[int]) -> str:
    return f"{sum(values):,} in all, {min(values)} to {max(values)}, mean {np.mean(values):.1f}"


def _body(environment: object, config: RunConfig, sample: SampleRequest) -> str:
    session = Session(environment, wire_config(config))
    try:
        body = session.protocol.request(sample, "").body.decode("utf-8", "replace")
    finally:
        session.close()
    return body if len(body) <= BODY_CHARS else f"{body[:BODY_CHARS]}… ({len(body):,} characters)"
