"""/metrics with vLLM's names, /dcgm/metrics with those of NVIDIA's exporter, and cache resets."""

from __future__ import annotations

import time

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.engine.latency_models import Clock
from llmbench_locust.simulator.engine.prefix_cache import PrefixCache
from llmbench_locust.simulator.server.control import Reply, Views, json_reply
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import PowerMeter, Stats


def metrics_views(
    settings: Settings, stats: Stats, clock: Clock, cache: PrefixCache | None
) -> Views:
    """The resets exist only where there is a cache, as in vLLM's dev mode."""

    def text(body: str) -> Reply:
        return 200, body.encode(), "text/plain; version=0.0.4; charset=utf-8"

    def dcgm(_: Json) -> Reply:
        stats.power.update(time.monotonic(), stats.in_flight)
        return text(dcgm_text(stats.power))

    def reset_if_idle(cache: PrefixCache) -> bool:
        idle = clock.running == clock.waiting == 0
        if idle:
            cache.reset()
        return idle

    views: Views = {
        "/metrics": {"GET": lambda _: text(metrics_text(settings, stats, clock, cache))},
        "/dcgm/metrics": {"GET": dcgm},
    }
    if cache is None:
        return views

    def flush(_: Json) -> Reply:
        if reset_if_idle(cache):
            return 200, b"Cache flushed.", "text/plain"
        return 400, b"Failed to flush: requests are running.", "text/plain"

    views["/reset_prefix_cache"] = {"POST": lambda _: json_reply({"success": reset_if_idle(cache)})}
    views["/flush_cache"] = {"GET": flush, "POST": flush}
    return views


def metrics_text(settings: Settings, stats: Stats, clock: Clock, cache: PrefixCache | None) -> str:
    """Prometheus text. Counters of a feature only where the feature is on, as vLLM does."""
    name = settings.model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'engine="0",model_name="{name}"'
    lines: list[str] = []

    def metric(metric_name: str, kind: str, value: float, more: str = "") -> None:
        if not more.endswith("!"):
            lines.append(f"# TYPE {metric_name} {kind}")
        lines.append(f"{metric_name}{{{label}{more.rstrip('!')}}} {float(value)}")

    metric("vllm:num_requests_running", "gauge", clock.running)
    metric("vllm:num_requests_waiting", "gauge", clock.waiting)
    metric("vllm:kv_cache_usage_perc", "gauge", clock.kv_usage)
    metric("vllm:num_preemptions_total", "counter", clock.preemptions)
    metric("vllm:prompt_tokens_total", "counter", stats.prompt_tokens)
    metric("vllm:generation_tokens_total", "counter", stats.generation_tokens)
    for i, (reason, count) in enumerate(stats.finished.items()):
        more = f',finished_reason="{reason}"' + ("!" if i else "")
        metric("vllm:request_success_total", "counter", count, more)
    if cache is not None:
        metric("vllm:prefix_cache_queries_total", "counter", cache.queries)
        metric("vllm:prefix_cache_hits_total", "counter", cache.hits)
        metric("vllm:prompt_tokens_cached_total", "counter", cache.hits)
    if settings.spec_tokens:
        metric("vllm:spec_decode_num_drafts_total", "counter", stats.drafts)
        metric("vllm:spec_decode_num_draft_tokens_total", "counter", stats.draft_tokens)
        metric("vllm:spec_decode_num_accepted_tokens_total", "counter", stats.accepted_tokens)
        for position in range(settings.spec_tokens):
            count = stats.accepted_at[position] if position < len(stats.accepted_at) else 0
            more = f',position="{position}"' + ("!" if position else "")
            metric("vllm:spec_decode_num_accepted_tokens_per_pos_total", "counter", count, more)
    for histogram_name, histogram in stats.latencies.by_name.items():
        lines += histogram.lines(histogram_name, label)
    return "\n".join(lines) + "\n"


def dcgm_text(power: PowerMeter) -> str:
    """Power in watts, energy in millijoules since the start, and utilization in percent, of one
    GPU that is busy while there is a request.
    """
    label = 'gpu="0",UUID="GPU-sim",modelName="simulated"'
    return (
        "# TYPE DCGM_FI_DEV_POWER_USAGE gauge\n"
        f"DCGM_FI_DEV_POWER_USAGE{{{label}}} {power.watts}\n"
        "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"
        f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{label}}} {power.joules * 1e3!r}\n"
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
        f"DCGM_FI_DEV_GPU_UTIL{{{label}}} {100 if power.in_flight else 0}\n"
    )
