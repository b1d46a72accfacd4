"""The result as one document: vLLM's keys in vLLM's order, and one more, ``llmbench``. Only formats."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from llmbench_locust.metrics.vllm import Distribution, Summary
from llmbench_locust.records import RecordColumns

#: Removed from the file without --save-detailed.
PER_REQUEST = (
    "input_lens",
    "output_lens",
    "start_times",
    "queue_times",
    "latencies",
    "ttfts",
    "itls",
    "generated_texts",
    "errors",
)


def build_document(
    config: Any,
    columns: RecordColumns,
    summary: Summary,
    *,
    started_at: datetime,
    tokenizer_id: str | None,
    spec_decode: dict[str, Any] | None = None,
    probes: dict[str, Any] | None = None,
    rps_changes: list[dict[str, Any]] | None = None,
    extended: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """``config``: a `RunConfig`. Everything in it JSON can hold; per-request arrays are there, `for_file` takes them out."""
    document = _head(config, started_at, tokenizer_id)
    document.update(_figures(columns, summary))
    document.update(probes or {})
    if rps_changes:
        document["rps_change_events"] = rps_changes
    document.update(spec_decode or {})
    for name in _shown(config, summary):
        document.update(_metric(name, summary.distributions[name]))
    if extended is not None:
        document["llmbench"] = extended
    return document


def for_file(document: dict[str, Any], *, detailed: bool) -> dict[str, Any]:
    """What is written: without the arrays of each request unless they were asked for."""
    return document if detailed else {k: v for k, v in document.items() if k not in PER_REQUEST}


def _head(config: Any, started_at: datetime, tokenizer_id: str | None) -> dict[str, Any]:
    rate = config.request_rate
    head: dict[str, Any] = {
        "date": started_at.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": config.backend,
        "backend": config.backend,
        "label": config.label,
        "model_id": config.model,
        "tokenizer_id": tokenizer_id,
        "num_prompts": config.num_prompts,
    }
    head.update(config.metadata)
    head["request_rate"] = rate if rate < float("inf") else "inf"
    head["burstiness"] = config.burstiness
    head["max_concurrency"] = config.max_concurrency
    if config.ramp_up_strategy is not None:
        head["ramp_up_strategy"] = config.ramp_up_strategy
        head["ramp_up_start_rps"] = whole(config.ramp_up_start_rps)
        head["ramp_up_end_rps"] = whole(config.ramp_up_end_rps)
    return head


def _figures(columns: RecordColumns, s: Summary) -> dict[str, Any]:
    queue = np.nan_to_num(columns.floats["client_queue_time"], nan=0.0).tolist()
    latency = np.nan_to_num(s.latencies.e2el_s, nan=0.0).tolist()
    lens = columns.ints["prompt_len"].tolist()
    if s.kind == "pooling":
        return {
            "duration": s.duration_s,
            "completed": s.completed,
            "total_input_tokens": s.total_input,
            "total_input_sequences": s.total_sequences,
            "request_throughput": s.request_throughput,
            "input_sequence_throughput": s.sequence_throughput,
            "total_token_throughput": s.total_token_throughput,
            "input_lens": lens,
            "latencies": latency,
            "queue_times": queue,
            "errors": columns.texts["error"],
        }
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
        "input_lens": lens,
        "output_lens": s.output_lens.tolist(),
        "ttfts": np.nan_to_num(s.latencies.ttft_s, nan=0.0).tolist(),
        "itls": _itls(columns),
        "latencies": latency,
        "start_times": np.nan_to_num(columns.floats["start_time"], nan=0.0).tolist(),
        "queue_times": queue,
        "generated_texts": columns.texts["text"],
        "errors": columns.texts["error"],
        "max_output_tokens_per_s": s.max_output_tokens_per_s,
        "max_concurrent_requests": s.max_concurrent_requests,
        "rtfx": s.rtfx,
    }


def _itls(columns: RecordColumns) -> list[list[float]]:
    bounds = columns.token_offsets.tolist()
    return [np.diff(columns.token_times[a:b]).tolist() for a, b in pairwise(bounds)]


def _shown(config: Any, summary: Summary) -> list[str]:
    """The metrics whose keys are there, in vLLM's order."""
    order = ("ttft", "tpot", "itl", "e2el") if summary.kind == "generation" else ("e2el",)
    return [name for name in order if name in config.percentile_metrics]


def _metric(name: str, d: Distribution) -> dict[str, float]:
    keys = {f"mean_{name}_ms": d.mean, f"median_{name}_ms": d.median, f"std_{name}_ms": d.std}
    keys.update({f"p{p_word(p)}_{name}_ms": value for p, value in d.percentiles})
    return keys


def p_word(p: float) -> str:
    """99 for 99.0, 99.9 for 99.9."""
    return str(int(p)) if int(p) == p else str(p)


def whole(value: float) -> float | int:
    """2 for 2.0, as vLLM's rates of a ramp are whole."""
    return int(value) if value == int(value) else value


def ramp_changes(config: Any, rates: Any, offsets_s: Any, started_at: datetime) -> list[dict[str, Any]]:
    """The moments at which a ramp passed each whole number of requests per second: rps and local ISO time."""
    last = int(config.ramp_up_start_rps)
    changes = [{"rps": last, "timestamp": started_at.isoformat()}]
    for rate, offset in zip(rates.tolist(), offsets_s.tolist(), strict=True):
        while last < int(rate):
            last += 1
            changes.append({"rps": last, "timestamp": (started_at + timedelta(seconds=offset)).isoformat()})
    return changes
