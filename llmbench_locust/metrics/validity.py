"""Is the result valid? One row a reason: its value, its limit, what to do. Pure.

docs/validity.md explains each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.statistics.certified import certified, least_samples

#: A finish reason that is no reason of the answer's own to be short.
_NO_REASON = ("", "length", "abort", "error", "max_tokens")


@dataclass(frozen=True, slots=True)
class Evidence:
    """``block``: the figures of the result that are there already."""

    facts: RunFacts
    summary: Summary
    block: Json

    @property
    def requests(self) -> int:
        return self.summary.completed + self.summary.failed

    @property
    def counters(self) -> Json:
        server = self.block.get("server")
        return server["all"]["counters"] if server else {}


@dataclass(frozen=True, slots=True)
class Reason:
    """``measure``: the value, None where nobody knows. It must not be above ``limit``."""

    name: str
    title: str
    measure: Callable[[Evidence], float | None]
    limit: float
    what_to_do: str


def _client(e: Evidence) -> float | None:
    return float((e.block.get("audit") or {}).get("client_limited", False))


def _warm_cache(e: Evidence) -> float | None:
    """Share of prompt tokens that came from the cache, beyond what the workload shares.

    Tokens that the server counted beyond the prompts are of its chat template: all prompts share
    them.
    """
    hits, asked = (e.counters.get(f"prefix_cache_{n}") for n in ("hits", "queries"))
    known = e.facts.sharing
    if not hits or not asked or known is None or known.prefix_share is None:
        return None
    template = max(0.0, asked - known.prompt_tokens)
    return float(hits / asked - (known.prefix_share * known.prompt_tokens + template) / asked)


def _duplicates(e: Evidence) -> float | None:
    """Random prompts are as alike as the vocabulary is small: that is their nature."""
    if e.facts.config.dataset_name.startswith("random"):
        return None
    known = e.facts.sharing
    return None if known is None else 1 - known.distinct / max(1, known.requests)


def _other_traffic(e: Evidence) -> float | None:
    """Requests that the server finished and nobody here sent, as a share of what was sent. Ready
    check, warm-ups and probes may fall into the window.
    """
    finished = e.counters.get("requests_finished")
    if finished is None:
        return None
    probes = e.facts.probes or {}
    ours = e.requests + e.facts.cut_off + 1 + e.facts.config.num_warmups
    ours += sum(probes.get(f"probe_{end}", 0) for end in ("completed", "failed"))
    return max(0.0, float(finished - ours)) / max(1, e.requests)


def _restarted(e: Evidence) -> float | None:
    server = e.block.get("server")
    return float(server["all"]["restarted"]) if server else None


def _rate(e: Evidence) -> float | None:
    found = e.block.get("overload")
    return 1 - found["completed"] / found["offered"] if found else None


def _short(e: Evidence) -> float | None:
    columns, lens = e.facts.columns, e.summary.output_lens
    asked = columns.ints["expected_output_len"]
    told = e.summary.latencies.ok & (asked > 0) & (columns.ints["output_len"] > 0)
    reason = np.isin(np.array(columns.texts["finish_reason"], dtype=str), _NO_REASON)
    short = np.count_nonzero(told & (lens < asked) & reason)
    return float(short) / np.count_nonzero(told) if np.any(told) else None


def _failed(e: Evidence) -> float | None:
    return e.summary.failed / e.requests if e.requests else None


def _missing(e: Evidence) -> float | None:
    """Requests that the highest percentile asked for lacks."""
    needed = max(map(least_samples, e.facts.config.metric_percentiles), default=0)
    return float(max(0, needed - e.summary.completed))


_FRESH = "use --reset-cache or another --seed"
REASONS = (
    Reason("client_limited", "the client was the limit", _client, 0, "see llmbench.audit"),
    Reason("warm_cache", "prompts were cached before the run", _warm_cache, 0.02, _FRESH),
    Reason(
        *("duplicate_prompts", "identical prompts", _duplicates, 0.05),
        "use a larger dataset, fewer --num-prompts, or --no-oversample",
    ),
    Reason(
        *("other_traffic", "the server also served others", _other_traffic, 0.01),
        "measure a server that nobody else uses",
    ),
    Reason(
        *("server_restarted", "a counter of the server fell", _restarted, 0),
        "read the server's log, then measure again",
    ),
    Reason(
        *("server_preempted", "the server preempted requests"),
        lambda e: e.counters.get("preemptions"),
        *(0, "lower the load or give the KV cache more memory"),
    ),
    Reason(
        *("rate_not_reached", "the server did not keep up with the rate", _rate, 0.05),
        "lower --request-rate; latencies of an overload depend on how long the run is",
    ),
    Reason(
        *("short_answers", "answers shorter than asked for", _short, 0.05),
        "use --ignore-eos, or read the server's log",
    ),
    Reason("failed_requests", "requests failed", _failed, 0.01, "see llmbench.errors"),
    Reason(
        *("too_few_samples", "requests missing for the highest percentile", _missing, 0),
        "raise --num-prompts or ask for a lower percentile (--metric-percentiles)",
    ),
)


def validity(facts: RunFacts, summary: Summary, block: Json) -> Json:
    """``valid``, ``reasons`` (each with value, limit and what to do) and ``warnings``."""
    evidence = Evidence(facts, summary, block)
    found = [(row, row.measure(evidence)) for row in REASONS]
    reasons = [
        {
            "reason": row.name,
            "title": row.title,
            "value": value,
            "limit": row.limit,
            "what_to_do": row.what_to_do,
        }
        for row, value in found
        if value is not None and value > row.limit
    ]
    warnings = []
    if block.get("steady_state") is None and not block.get("overload"):
        warnings.append("not_steady")
    if (block.get("tokens_per_event") or 0) > 1.5:
        warnings.append("chunks_carry_several_tokens")
    return {"valid": not reasons, "reasons": reasons, "warnings": warnings}


def validity_lines(found: Json) -> list[str]:
    """A line for each reason; last, the verdict."""
    lines = [
        f"{r['reason']}: {r['title']}: {r['value']:.4g} (limit {r['limit']:g}). "
        f"What to do: {r['what_to_do']}"
        for r in found["reasons"]
    ]
    names = ", ".join(r["reason"] for r in found["reasons"])
    return [*lines, "Result: valid" if found["valid"] else f"Result: NOT VALID: {names}"]


def certified_percentiles(summary: Summary, percentiles: Sequence[float]) -> Json:
    """Milliseconds; None where there are too few requests. ITLs are not independent: not here."""
    found = summary.latencies
    shown = {"ttft": found.ttft_s, "tpot": found.tpot_s, "e2el": found.e2el_s}
    samples = {name: values[~np.isnan(values)] for name, values in shown.items()}
    return {
        f"{name}_ms": {
            f"p{p:g}": None if (value := certified(values, p)) is None else value * 1000
            for p in percentiles
        }
        for name, values in samples.items()
        if len(values)
    }
