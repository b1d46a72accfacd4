"""Checks whether the result is valid. One row per reason: finding, limit, what to do. Pure.

docs/validity.md explains each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.attempts import attempts_before
from llmbench_locust.metrics.facts import Figures, RunFacts
from llmbench_locust.metrics.groups import cached_tokens
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.statistics.certified import certified, least_samples

#: Finish reasons that do not explain a short response.
_NO_REASON = ("", "length", "abort", "error", "max_tokens")
#: Percentiles that the advice for too few requests suggests.
_USUAL_PERCENTILES = (50, 75, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Found:
    """``value``: invalid above the reason's limit. ``text``: its meaning in one sentence."""

    value: float
    text: str
    what_to_do: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """``find`` returns None if unknown. ``what_to_do``: unless the finding has its own advice."""

    name: str
    limit: float
    find: Callable[[Figures], Found | None]
    what_to_do: str = ""


def _client(e: Figures) -> Found | None:
    audit = e.block.get("audit")
    if not audit:
        return None
    text = f"The client was the limit: {'; '.join(audit['reasons'])}."
    return Found(float(audit["client_limited"]), text, f"What to do: {audit['hint']}.")


def _warm_cache(e: Figures) -> Found | None:
    """Share of prompt tokens that came from the cache, beyond what the workload shares.

    Tokens that the server counted in addition to the prompts are from its chat template, which all
    prompts share.
    """
    hits, asked = cached_tokens(e.facts.columns, e.counters)
    known = e.facts.sharing
    if not hits or not asked or known is None or known.prefix_share is None:
        return None
    template = max(0.0, asked - known.prompt_tokens)
    shared = (known.prefix_share * known.prompt_tokens + template) / asked
    return Found(
        hits / asked - shared,
        f"{hits / asked:.0%} of the prompt tokens came from the server's prefix cache, but the "
        f"prompts share only {shared:.0%} among themselves (limit: 2% more): an earlier run left "
        "them there.",
    )


def _duplicates(e: Figures) -> Found | None:
    """Not for random prompts, which may repeat if the vocabulary is small."""
    known = e.facts.sharing
    if known is None or e.facts.config.dataset_name.startswith("random"):
        return None
    value = 1 - known.distinct / max(1, known.requests)
    return Found(
        value,
        f"{known.requests - known.distinct} of {known.requests} prompts repeat an earlier one "
        f"({value:.0%}; limit 5%).",
    )


def _other_traffic(e: Figures) -> Found | None:
    """What the server finished beyond this client's requests, as a share of these: requests, or
    generated tokens if the server does not count requests. Ready check, warm-ups and probes may
    be in the window.
    """
    finished, tokens = (e.counters.get(n) for n in ("requests_finished", "generation_tokens"))
    probes = e.facts.probes or {}
    extra = 1 + e.facts.config.num_warmups + attempts_before(e.facts.columns)
    extra += sum(probes.get(f"probe_{end}", 0) for end in ("completed", "failed"))
    left = int(np.count_nonzero(e.facts.columns.cancelled))
    lost = left or e.summary.failed or e.facts.cut_off
    if finished is not None:
        unit, counted, ours = "requests", finished, e.summary.requests + e.facts.cut_off + left
    elif tokens is not None and e.summary.completed and not lost:
        unit, counted, ours = "output tokens", tokens, e.summary.total_output
        extra *= int(e.summary.output_lens.max())
    else:
        return None
    others = max(0.0, counted - ours - extra)
    return Found(
        others / max(1, ours),
        f"The server finished {counted:.0f} {unit} during the run, of which {others:.0f} were not "
        f"from this run (limit 1% of {ours}).",
    )


def _restarted(e: Figures) -> Found | None:
    server = e.block.get("server")
    if not server:
        return None
    text = "A counter of the server fell during the run: the server was restarted or reset."
    return Found(float(server["all"]["restarted"]), text)


def _preempted(e: Figures) -> Found | None:
    times = e.counters.get("preemptions")
    if times is None:
        return None
    many = f"{times:.0f} time{'s' if times != 1 else ''}"
    return Found(times, f"The server preempted requests {many} (limit 0): its KV cache was full.")


def _rate(e: Figures) -> Found | None:
    found = e.block.get("overload")
    if not found:
        return None
    share = found["completed"] / found["offered"]
    return Found(
        1 - share,
        f"The server completed {found['completed']:.1f} requests per second of "
        f"{found['offered']:.1f} offered ({share:.0%}; limit 95%), and its queue grew.",
    )


def _short(e: Figures) -> Found | None:
    columns, lens = e.facts.columns, e.summary.output_lens
    asked = columns.ints["expected_output_len"]
    known = e.summary.latencies.ok & (asked > 0) & (columns.ints["output_len"] > 0)
    if not np.any(known):
        return None
    reason = np.isin(np.array(columns.texts["finish_reason"], dtype=str), _NO_REASON)
    short, n = int(np.count_nonzero(known & (lens < asked) & reason)), int(np.count_nonzero(known))
    return Found(
        short / n,
        f"{short} of {n} responses ended before the requested length without a stop reason "
        f"({short / n:.0%}; limit 5%).",
    )


def _failed(e: Figures) -> Found | None:
    failed, requests = e.summary.failed, e.summary.requests
    if not requests:
        return None
    share = failed / requests
    return Found(share, f"{failed} of {requests} requests failed ({share:.1%}; limit 1%).")


def _too_few(e: Figures) -> Found | None:
    """The number of requests missing for the highest requested percentile."""
    below = [p for p in e.facts.config.metric_percentiles if p < 100]  # P100 is the maximum
    asked = max(below, default=0.0)
    needed, there = least_samples(asked), e.summary.completed
    fit = [f"{p}" for p in _USUAL_PERCENTILES if least_samples(p) <= there and p < asked]
    lower = f", or report lower percentiles with --metric-percentiles {','.join(fit)}"
    return Found(
        float(max(0, needed - there)),
        f"P{asked:g} needs at least {needed} successful requests; this run has {there}.",
        f"Raise {_length(e.facts)}{lower if fit else ''}.",
    )


def _length(facts: RunFacts) -> str:
    """The flag that says how long the run is."""
    if facts.config.duration_s is not None:
        return "--duration"
    if facts.config.num_sessions is not None:
        return "--num-sessions"
    return "--num-prompts" if facts.planned else "--run-time"


REASONS = (
    Reason("client_limited", 0, _client),
    Reason(
        "warm_cache",
        0.02,
        _warm_cache,
        "Use --reset-cache auto, --cache-bust run, or another --seed.",
    ),
    Reason(
        "duplicate_prompts",
        0.05,
        _duplicates,
        "Use a larger dataset, fewer --num-prompts, or --no-oversample.",
    ),
    Reason("other_traffic", 0.01, _other_traffic, "Measure a server that serves no other clients."),
    Reason("server_restarted", 0, _restarted, "Read the server's log, then measure again."),
    Reason("server_preempted", 0, _preempted, "Lower the load, or give the KV cache more memory."),
    Reason(
        "rate_not_reached",
        0.05,
        _rate,
        "Lower --request-rate: latencies of an overload depend on how long the run is.",
    ),
    Reason("short_answers", 0.05, _short, "Use --ignore-eos, or read the server's log."),
    Reason("failed_requests", 0.01, _failed, "The errors are listed by kind (llmbench.errors)."),
    Reason("too_few_samples", 0, _too_few),
)


def validity(figures: Figures) -> Json:
    """``valid``, ``reasons`` (each with value, limit, text and what to do) and ``warnings``."""
    block, itl = figures.block, figures.summary.distributions["itl"]
    reasons = [
        {
            "reason": row.name,
            "value": found.value,
            "limit": row.limit,
            "text": found.text,
            "what_to_do": found.what_to_do or row.what_to_do,
        }
        for row in REASONS
        if (found := row.find(figures)) is not None and found.value > row.limit
    ]
    warnings = []
    if block.get("steady_state") is None and not block.get("overload"):
        warnings.append("not_steady")
    if (block.get("tokens_per_event") or 0) > 1.5:
        warnings.append("chunks_carry_several_tokens")
    if itl.count and not itl.mean:
        warnings.append("answers_in_one_piece")
    return {"valid": not reasons, "reasons": reasons, "warnings": warnings}


def validity_lines(found: Json) -> list[str]:
    """The verdict with its only reason, or a line for each reason and then the verdict."""
    if found["valid"]:
        warnings = ", ".join(found["warnings"])
        return [f"Result: valid (warnings: {warnings})" if warnings else "Result: valid"]
    lines = [f"{r.get('text', r['reason'])} {r['what_to_do']}" for r in found["reasons"]]
    names = ", ".join(r["reason"] for r in found["reasons"])
    if len(lines) == 1:
        return [f"Result: NOT VALID ({names}): {lines[0]}"]
    return [*(f"* {line}" for line in lines), f"Result: NOT VALID ({names})"]


def certified_percentiles(summary: Summary, percentiles: Sequence[float]) -> Json:
    """Milliseconds; None with too few requests. Without ITL, whose samples are not independent."""
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
