"""Computes the figures of a run from its facts: vLLM's summary, and the ``llmbench`` block of a
result, for which vLLM has no keys. Pure.

Missing is None, never 0. Latencies in milliseconds. docs/results.md describes every key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmbench_locust._version import __version__
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.metrics.answers import answer_figures, same_figures
from llmbench_locust.metrics.attempts import cancelled, retries
from llmbench_locust.metrics.audit import verdict
from llmbench_locust.metrics.basis import Basis, named_ms
from llmbench_locust.metrics.concurrency import Sweep, steady_window
from llmbench_locust.metrics.cost import cost, per_gpu
from llmbench_locust.metrics.facts import Figures, RunFacts
from llmbench_locust.metrics.groups import by_context, by_name, prefix_cache, session_figures
from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.metrics.intervals import intervals
from llmbench_locust.metrics.latencies import Floats
from llmbench_locust.metrics.server import gpu_figures
from llmbench_locust.metrics.tokens import TokenBins, per_token_gaps
from llmbench_locust.metrics.validity import certified_percentiles, validity
from llmbench_locust.metrics.vllm import Asked, Summary, good, summarize
from llmbench_locust.options.command import command_of
from llmbench_locust.records import RecordColumns
from llmbench_locust.redact import redacted


def derive(facts: RunFacts) -> Figures:
    config = facts.config
    summary = summarize(
        facts.columns,
        Asked(config.metric_percentiles, config.goodput, config.backend_info.kind),
        duration_s=facts.duration_s,
        counted=facts.counted,
        folded=facts.folded,
    )
    basis = Basis(facts, summary)
    found = Figures(facts, summary, {name: figure(basis) for name, figure in BLOCKS.items()})
    found.block["validity"] = validity(found)
    return found


# --- tokens


def _tokens_per_event(basis: Basis) -> float | None:
    """Above 1 if chunks have several tokens: then vLLM's ITL is per chunk."""
    if basis.facts.folded is not None:
        return None
    events = int(np.diff(basis.columns.token_offsets)[basis.columns.success].sum())
    return basis.summary.total_output / events if events else None


def _per_token(basis: Basis) -> dict[str, float] | None:
    """Exact if each event has one token (then it is the ITL), else percentiles within 0.1%."""
    folded = basis.facts.folded
    if basis.weights is None and folded is None:
        return basis.shape(basis.found.itl_s)
    gaps = per_token_gaps(basis.columns, basis.rows, basis.weights)
    if folded is not None:
        gaps.merge(folded.token_gaps)
    return _of_histogram(gaps, basis.percentiles)


def _of_histogram(gaps: Histogram, percentiles: Sequence[float]) -> dict[str, float] | None:
    if not gaps.total:
        return None
    points = sorted({50.0, 90.0, 99.0, *percentiles})
    return named_ms(gaps.mean_s, points, gaps.percentiles(points), gaps.max_s)


def output_length(columns: RecordColumns, summary: Summary) -> dict[str, int]:
    """Responses shorter or longer than requested, if the server reported their length."""
    asked = columns.ints["expected_output_len"]
    known = summary.latencies.ok & (asked > 0) & (columns.ints["output_len"] > 0)
    return {
        "as_asked": int(np.count_nonzero(known & (summary.output_lens == asked))),
        "shorter": int(np.count_nonzero(known & (summary.output_lens < asked))),
        "longer": int(np.count_nonzero(known & (summary.output_lens > asked))),
    }


def _finish_reasons(columns: RecordColumns) -> dict[str, int]:
    given = (
        r
        for r, ok in zip(columns.texts["finish_reason"], columns.success.tolist(), strict=True)
        if ok and r
    )
    return dict(Counter(given).most_common())


def _first_answer(columns: RecordColumns) -> Floats:
    """Only of responses with reasoning: for others it is the TTFT."""
    first = columns.floats["first_answer_time"] - columns.floats["start_time"]
    return first[columns.success & (columns.ints["reasoning_tokens"] > 0)]


def _server_times(basis: Basis) -> Json | None:
    """The server's times of the requests (--enable-per-request-metrics), if it reported any."""
    found = {
        name: basis.shape(basis.columns.floats[column][basis.found.ok])
        for name, column in (("queue", "server_queue_time"), ("prefill", "server_ttft"))
    }
    return found if any(found.values()) else None


def _sum_known(values: NDArray[np.int64]) -> int | None:
    known = values[values >= 0]
    return int(known.sum()) if len(known) else None


# --- objectives, intended arrivals, steady state
# ---------------------------------------------------------------------


def slo_attainment(summary: Summary, goodput_ms: dict[str, float]) -> dict[str, float | None]:
    """Share of all requests, including failed ones, that met each objective and all of them."""
    total = summary.requests
    if not goodput_ms:
        return {}
    if not total:
        return dict.fromkeys([*goodput_ms, "all"])
    one = {
        k: float(np.count_nonzero(good(summary.latencies, {k: v}))) / total
        for k, v in goodput_ms.items()
    }
    return {**one, "all": float(np.count_nonzero(good(summary.latencies, goodput_ms))) / total}


def _from_due(basis: Basis) -> Json | None:
    """Latencies from the intended send time: what a user arriving then would have seen."""
    columns, found, shape = basis.columns, basis.found, basis.shape
    waited = columns.floats["start_time"] - columns.floats["due_time"]
    if np.all(np.isnan(waited)):
        return None
    return {
        "ttft": shape(found.ttft_s + waited),
        "e2el": shape(found.e2el_s + waited),
        "wait": shape(waited[found.ok]),
    }


def steady_state(
    columns: RecordColumns, summary: Summary, flying: Sweep, bins: TokenBins
) -> Json | None:
    """Completions and tokens in `steady_window`, latencies of the requests that started in it."""
    window = steady_window(columns, flying)
    if window is None:
        return None
    begin, end = window
    start, ends = columns.floats["start_time"], columns.floats["end_time"]
    done = columns.success & (ends >= begin) & (ends < end)
    started = columns.success & (start >= begin) & (start < end)
    found, length = summary.latencies, end - begin
    first = float(np.nanmin(start))
    return {
        "begin_s": begin - first,
        "window_s": length,
        "requests": int(np.count_nonzero(started)),
        "request_throughput": float(np.count_nonzero(done)) / length,
        "output_throughput": bins.between(begin, end) / length
        if summary.kind == "generation"
        else None,
        "mean_concurrent_requests": flying.mean(begin, end),
        "mean_ttft_ms": _mean_ms(found.ttft_s[started]),
        "mean_tpot_ms": _mean_ms(found.tpot_s[started]),
        "mean_e2el_ms": _mean_ms(found.e2el_s[started]),
    }


def _mean_ms(seconds: Floats) -> float | None:
    some = seconds[~np.isnan(seconds)]
    return float(some.mean() * 1000) if len(some) else None


def workload(basis: Basis) -> Json | None:
    """Identifies the workload, apart from rates; None without a plan. ``hash``: of the prompts,
    media and lengths in the order of the plan.
    """
    config = basis.facts.config
    if not basis.facts.prompts:
        return None
    found = {"dataset": config.dataset_name, "seed": config.seed, "sampling": config.sampling}
    bust = basis.facts.cold_cache.get("cache_bust", "none")
    return {"hash": basis.facts.prompts, **found, "cache_bust": bust}


#: The keys of the block, in order. To add a figure, write a pure function of `Basis` and one line.
BLOCKS: dict[str, Callable[[Basis], JsonValue]] = {
    "version": lambda b: __version__,
    "interrupted": lambda b: b.facts.interrupted,
    "completed": lambda b: b.summary.completed,
    "failed": lambda b: b.summary.failed,
    "cancelled": cancelled,
    "retries": retries,
    "unsent_requests": lambda b: b.facts.unsent,
    "cut_off_requests": lambda b: b.facts.cut_off,
    "peak_concurrent_requests": lambda b: b.flying.peak,
    "peak_output_tokens_per_s": lambda b: (
        float(b.bins.peak()) if b.summary.kind == "generation" else None
    ),
    "tokens_per_event": _tokens_per_event,
    "per_token_itl_ms": _per_token,
    "latency_from_intended_arrival_ms": _from_due,
    "objectives_ms": lambda b: dict(b.facts.config.goodput),
    "slo_attainment": lambda b: slo_attainment(b.summary, b.facts.config.goodput),
    "overload": lambda b: b.overload,
    "steady_state": lambda b: (
        None if b.overload else steady_state(b.columns, b.summary, b.flying, b.bins)
    ),
    "time_to_first_answer_token_ms": lambda b: b.shape(_first_answer(b.columns)),
    "reasoning_tokens": lambda b: _sum_known(b.columns.ints["reasoning_tokens"][b.columns.success]),
    "server_request_times_ms": _server_times,
    "answers": answer_figures,
    "same_answers": same_figures,
    "prefix_cache": prefix_cache,
    "finish_reasons": lambda b: _finish_reasons(b.columns),
    "output_length": lambda b: output_length(b.columns, b.summary),
    "connections_opened_on_the_clock": lambda b: int(
        np.count_nonzero(np.nan_to_num(b.columns.floats["connect_s"]) > 0)
    ),
    "errors": lambda b: errors_by_kind(b.columns),
    "by_label": lambda b: by_name(b, b.columns.texts["label"]),
    "by_server": lambda b: by_name(b, b.columns.texts["server"]),
    "by_turn": lambda b: by_name(
        b, ["" if turn < 0 else str(turn) for turn in b.columns.ints["turn"].tolist()]
    ),
    "by_context_length": by_context,
    "sessions": session_figures,
    "certified_percentiles": lambda b: certified_percentiles(b.summary, b.percentiles),
    "intervals": lambda b: intervals(b.columns, b.summary, b.percentiles, b.exact),
    "exact": lambda b: b.facts.folded is None,
    "folded_token_events": lambda b: 0 if b.facts.folded is None else b.facts.folded.events,
    "audit": lambda b: None if b.facts.audit is None else verdict(b.facts.audit),
    "workload": workload,
    "cold_cache": lambda b: b.facts.cold_cache or None,
    "server": lambda b: b.server,
    "gpu": lambda b: gpu_figures(b.facts, b.summary),
    "cost": lambda b: cost(b.facts.config, b.columns, b.summary, b.facts.config.goodput),
    "per_gpu": lambda b: per_gpu(b.facts.config, b.summary),
    "workers": lambda b: list(b.facts.workers),
    "resumed": lambda b: b.facts.resumed,
    "command": lambda b: command_of(b.facts.config),
    "environment": lambda b: b.facts.environment,
}


#: Number of kinds counted by name.
MOST_KINDS = 50


def errors_by_kind(columns: RecordColumns) -> dict[str, Json]:
    """``{kind: {"count", "first"}}``, the most frequent first; past 50 kinds they are "other"."""
    found: dict[str, Json] = {}
    for row in np.flatnonzero(columns.failed).tolist():
        kind = columns.texts["error_kind"][row] or "unknown"
        if kind not in found and len(found) >= MOST_KINDS:
            kind = "other"
        entry = found.setdefault(kind, {"count": 0, "first": redacted(columns.texts["error"][row])})
        entry["count"] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))
