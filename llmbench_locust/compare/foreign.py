"""Converts result files of other tools to the keys of `vllm bench serve`: one row per tool.

Equal names can mean different things. The inter-token latency of GuideLLM and AIPerf is (last −
first token) / (tokens − 1) of each request: TPOT here. GuideLLM's "time per output token" includes
the first token and has no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmbench_locust.json_types import Json

Document = Json


@dataclass(frozen=True, slots=True)
class Tool:
    """``marks``: keys that identify a file. ``missing``: what its files lack."""

    name: str
    marks: frozenset[str]
    documents: Callable[[Document], Iterator[Document]]
    missing: str


def adapted(document: Document) -> tuple[str, str, list[Document]]:
    """The tool that wrote a file, what is missing in it, and its runs with vLLM's keys."""
    for tool in TOOLS:
        if tool.marks <= document.keys():
            return tool.name, tool.missing, list(tool.documents(document))
    return ("llmbench" if "llmbench" in document else "vllm bench serve"), "", [document]


def _sglang(found: Document) -> Iterator[Document]:
    document = {key.replace("e2e_latency", "e2el"): value for key, value in found.items()}
    document["total_token_throughput"] = document.pop("total_throughput")
    info = found.get("server_info") or {}
    document["model_id"] = info.get("served_model_name") or info.get("model_path")
    gaps, errors = found.get("itls"), found.get("errors")
    if gaps:
        first = found["ttfts"]
        document["latencies"] = [t + sum(g) for t, g in zip(first, gaps, strict=True)]
    if errors:
        document["failed"] = sum(map(bool, errors))
    yield document


def _guidellm(found: Document) -> Iterator[Document]:
    for run in found["benchmarks"]:
        config = run.get("config") or run.get("args") or {}
        strategy, backend = config.get("strategy") or {}, config.get("backend") or {}
        metrics = run["metrics"]
        totals = metrics["request_totals"]
        document = {
            "backend": "guidellm",
            "model_id": backend.get("model"),
            "request_rate": strategy.get("rate") or strategy.get("type_"),
            "max_concurrency": strategy.get("streams"),
            "duration": run["duration"],
            "completed": totals["successful"],
            "failed": totals["errored"] + totals["incomplete"],
            "num_prompts": totals["total"],
            "request_goodput": metrics.get("request_goodput"),
        }
        for ours, theirs, key, scale in _GUIDELLM:
            ok = (metrics.get(theirs) or {}).get("successful") or {}
            if key is None:
                document.update(_figures(ours, ok, "mean", ok.get("percentiles") or {}, scale))
            elif key in ok:
                document[ours] = ok[key]
        done = (run.get("requests") or {}).get("successful") or []
        if done and len(done) == document["completed"]:
            document |= {
                "start_times": [r["request_start_time"] for r in done],
                "latencies": [r["request_latency"] for r in done],
                "ttfts": [(r["time_to_first_token_ms"] or 0.0) / 1e3 for r in done],
                "input_lens": [r["prompt_tokens"] or 0 for r in done],
                "output_lens": [r["output_tokens"] or 0 for r in done],
            }
        yield document


#: vLLM's key, GuideLLM's metric, its field (None: a latency with percentiles), to ms.
_GUIDELLM: tuple[tuple[str, str, str | None, float], ...] = (
    ("total_input_tokens", "prompt_token_count", "total_sum", 1),
    ("total_output_tokens", "output_token_count", "total_sum", 1),
    ("request_throughput", "requests_per_second", "mean", 1),
    ("output_throughput", "output_tokens_per_second", "mean", 1),
    ("total_token_throughput", "tokens_per_second", "mean", 1),
    ("ttft", "time_to_first_token_ms", None, 1),
    ("tpot", "inter_token_latency_ms", None, 1),
    ("e2el", "request_latency", None, 1000),
)


def _aiperf(found: Document) -> Iterator[Document]:
    given = found.get("input_config") or {}
    models = (given.get("models") or {}).get("items") or [{}]
    document: Document = {"backend": "aiperf", "model_id": models[0].get("name"), "failed": 0}
    for ours, theirs, latency in _AIPERF:
        metric = found.get(theirs)
        if metric and latency:
            document.update(_figures(ours, metric, "avg", metric, 1))
        elif metric:
            document[ours] = metric["avg"]
    for key in ("completed", "failed", "total_input_tokens", "total_output_tokens"):
        if key in document:
            document[key] = round(document[key])
    document["num_prompts"] = document["completed"] + document["failed"]
    yield document


#: vLLM's key, AIPerf's metric, whether it is a latency.
_AIPERF = (
    ("duration", "benchmark_duration", False),
    ("completed", "request_count", False),
    ("failed", "error_request_count", False),
    ("total_input_tokens", "total_isl", False),
    ("total_output_tokens", "total_osl", False),
    ("request_throughput", "request_throughput", False),
    ("request_goodput", "goodput", False),
    ("output_throughput", "output_token_throughput", False),
    ("total_token_throughput", "total_token_throughput", False),
    ("ttft", "time_to_first_token", True),
    ("tpot", "inter_token_latency", True),
    ("itl", "inter_chunk_latency", True),
    ("e2el", "request_latency", True),
)


def _figures(name: str, ok: Document, mean: str, points: Document, scale: float) -> Document:
    """Mean, median, P90 and P99 under vLLM's keys, if present."""
    values = {"mean": ok.get(mean), "std": ok.get("std") or ok.get("std_dev")}
    values |= {"median": points.get("p50"), "p90": points.get("p90"), "p99": points.get("p99")}
    return {f"{key}_{name}_ms": v * scale for key, v in values.items() if v is not None}


TOOLS = (
    Tool(
        "SGLang's bench_serving",
        frozenset({"median_e2e_latency_ms", "total_throughput"}),
        _sglang,
        "start times (so no charts over time), and the model's name unless the server gave it; "
        "individual requests and failures only with --output-details",
    ),
    Tool(
        "GuideLLM",
        frozenset({"benchmarks", "metadata"}),
        _guidellm,
        "gaps between tokens (what it calls ITL is TPOT here), and whether the client was the "
        "limit",
    ),
    Tool(
        "AIPerf",
        frozenset({"request_latency", "request_throughput"}),
        _aiperf,
        "individual requests (so no charts), and whether the client was the limit; what it calls "
        "ITL is TPOT here, and its inter-chunk latency is ITL",
    ),
)
