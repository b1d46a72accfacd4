"""The result document: vLLM's keys in vLLM's order, and ``llmbench``. Only formats."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import Figures
from llmbench_locust.metrics.latencies import KEYS, Floats, input_lengths
from llmbench_locust.metrics.vllm import Distribution, Summary
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.redact import redacted
from llmbench_locust.results.files import whole

#: Left out without --save-detailed. "latencies" and "queue_times" stay, as in vLLM.
PER_REQUEST = (
    *("input_lens", "output_lens", "start_times", "ttfts", "itls", "generated_texts", "errors"),
    *("server_queue_times", "server_ttfts"),
)


def build_document(figures: Figures) -> Json:
    """The result document, as strict JSON. Without ``save_detailed`` it has no arrays of
    `PER_REQUEST`, which take much memory for millions of tokens.
    """
    facts, summary = figures.facts, figures.summary
    config, columns = facts.config, facts.columns
    document = _head(config, facts.started_at)
    if config.endless or config.num_sessions or config.num_prompts < 1 or not facts.planned:
        document["num_prompts"] = len(columns) + facts.unsent
    document.update(
        _pooling(columns, summary) if summary.kind == "pooling" else _generation(columns, summary)
    )
    if config.save_detailed:
        document.update(_per_request(columns, summary, facts.gone))
    else:
        document = {key: value for key, value in document.items() if key not in PER_REQUEST}
    document.update(facts.probes or {})
    if facts.rps_changes:
        document["rps_change_events"] = facts.rps_changes
    document.update(facts.spec_decode or {})
    for name in shown_metrics(config, summary):
        document.update(_metric(name, summary.distributions[name]))
    document["llmbench"] = figures.block
    return document


def _head(config: RunConfig, started_at: datetime) -> Json:
    rate = config.request_rate
    head: Json = {
        "date": started_at.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": config.backend,
        "backend": config.backend,
        "label": config.label,
        "model_id": config.model,
        "tokenizer_id": None if config.skip_tokenizer_init else config.tokenizer or config.model,
        "num_prompts": config.num_prompts,
    }
    head.update(config.metadata)
    head["request_rate"] = rate if rate < float("inf") else "inf"
    head["burstiness"] = config.burstiness
    head["max_concurrency"] = config.max_concurrency
    if config.ramp_up_strategy is not None:
        head["ramp_up_strategy"] = config.ramp_up_strategy
        head["ramp_up_start_rps"] = whole(config.ramp_up_start_rps or 0)
        head["ramp_up_end_rps"] = whole(config.ramp_up_end_rps or 0)
    return head


def _pooling(columns: RecordColumns, s: Summary) -> Json:
    return {
        "duration": s.duration_s,
        "completed": s.completed,
        "total_input_tokens": s.total_input,
        "total_input_sequences": s.total_sequences,
        "request_throughput": s.request_throughput,
        "input_sequence_throughput": s.sequence_throughput,
        "total_token_throughput": s.total_token_throughput,
        "input_lens": None,
        "latencies": _zeros(s.latencies.e2el_s),
        "queue_times": _zeros(columns.floats["client_queue_time"]),
        "errors": None,
    }


def _generation(columns: RecordColumns, s: Summary) -> Json:
    """Keys in vLLM's order; those of `PER_REQUEST` are only placeholders here."""
    return {
        "duration": s.duration_s,
        "completed": s.completed,
        "failed": s.failed,
        "total_input_tokens": s.total_input,
        "total_output_tokens": s.total_output,
        "request_throughput": s.request_throughput,
        "request_goodput": s.request_goodput,
        "output_throughput": s.output_throughput,
        "total_token_throughput": s.total_token_throughput,
        "input_lens": None,
        "output_lens": None,
        "ttfts": None,
        "itls": None,
        "latencies": _zeros(s.latencies.e2el_s),
        "start_times": None,
        "queue_times": _zeros(columns.floats["client_queue_time"]),
        "generated_texts": None,
        "errors": None,
        "max_output_tokens_per_s": s.max_output_tokens_per_s,
        "max_concurrent_requests": s.max_concurrent_requests,
        "rtfx": s.rtfx,
    }


def _per_request(columns: RecordColumns, s: Summary, gone: NDArray[np.bool_]) -> Json:
    lens = input_lengths(columns)
    if s.kind == "pooling":
        return {"input_lens": lens.tolist(), "errors": _errors(columns)}
    return {
        "input_lens": lens.tolist(),
        "output_lens": s.output_lens.tolist(),
        "ttfts": _zeros(s.latencies.ttft_s),
        "itls": _itls(columns, gone),
        "start_times": _zeros(columns.floats["start_time"]),
        "generated_texts": columns.texts["text"],
        "errors": _errors(columns),
        **_server_times(columns),
    }


def _server_times(columns: RecordColumns) -> Json:
    """What vLLM's server reports with --enable-per-request-metrics; no keys if it did not."""
    times = {
        "server_queue_times": columns.floats["server_queue_time"],
        "server_ttfts": columns.floats["server_ttft"],
    }
    if all(np.all(np.isnan(values)) for values in times.values()):
        return {}
    return {key: [None if t != t else t for t in v.tolist()] for key, v in times.items()}


def _zeros(values: NDArray[np.float64]) -> list[float]:
    """With 0.0 for missing values, as in vLLM's arrays."""
    found: list[float] = np.nan_to_num(values, nan=0.0).tolist()
    return found


def _errors(columns: RecordColumns) -> list[str]:
    """Never empty for a failed request, so that readers can recognize failures."""
    rows = zip(
        columns.success.tolist(), columns.texts["error"], columns.texts["error_kind"], strict=True
    )
    return ["" if ok else redacted(error) or kind or "failed" for ok, error, kind in rows]


def _itls(columns: RecordColumns, gone: NDArray[np.bool_]) -> list[list[float]]:
    bounds = columns.token_offsets.tolist()
    return [
        [] if g else np.diff(columns.token_times[a:b]).tolist()
        for g, (a, b) in zip(gone.tolist(), pairwise(bounds), strict=True)
    ]


def shown_metrics(config: RunConfig, summary: Summary) -> list[str]:
    """The reported metrics in vLLM's order. Client queue times need a concurrency limit."""
    order = [*KEYS] if summary.kind == "generation" else ["e2el"]
    if config.max_concurrency is not None:
        order.append("client_queue_time")
        if config.request_rate < float("inf"):
            order.append("e2el_including_client_queue")
    return [name for name in order if name in config.percentile_metrics]


def _metric(name: str, d: Distribution) -> dict[str, float]:
    keys = {f"mean_{name}_ms": d.mean, f"median_{name}_ms": d.median, f"std_{name}_ms": d.std}
    keys.update({f"p{p_word(p)}_{name}_ms": value for p, value in d.percentiles})
    return keys


def p_word(p: float) -> str:
    """99 for 99.0, 99.9 for 99.9."""
    return str(int(p)) if int(p) == p else str(p)


#: Changes of the rate that one request adds at most: a steep ramp passes millions at once.
MOST_STEPS = 1000


def ramp_changes(
    config: RunConfig, rates: Floats, offsets_s: Floats, started_at: datetime
) -> list[Json]:
    """When a ramp passed each whole number of requests per second: rps, local ISO time."""
    last = int(config.ramp_up_start_rps or 0)
    changes = [{"rps": last, "timestamp": started_at.isoformat()}]
    for rate, offset in zip(rates.tolist(), offsets_s.tolist(), strict=True):
        last = max(last, int(rate) - MOST_STEPS)
        while last < int(rate):
            last += 1
            changes.append(
                {"rps": last, "timestamp": (started_at + timedelta(seconds=offset)).isoformat()}
            )
    return changes
