"""/metrics with vLLM's names, /dcgm/metrics with NVIDIA's exporter's, and cache resets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import zip_longest

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.engine.latency_models import Clock
from llmbench_locust.simulator.engine.prefix_cache import PrefixCache
from llmbench_locust.simulator.server.control import Reply, Views, json_reply
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import PowerMeter, Stats


def metrics_views(
    settings: Settings, stats: Stats, clock: Clock, cache: PrefixCache | None
) -> Views:
    """Resets exist only with a cache, as in vLLM's development mode."""

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
    """Prometheus text. Counters of a feature only if the feature is on, as in vLLM."""
    name = settings.model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'engine="0",model_name="{name}"'
    lines: list[str] = []

    def family(metric: str, values: Mapping[str, float], kind: str = "counter") -> None:
        """``values``: by labels in addition to the common ones."""
        lines.append(f"# TYPE {metric} {kind}")
        lines.extend(f"{metric}{{{label}{more}}} {float(v)}" for more, v in values.items())

    family("vllm:num_requests_running", {"": clock.running}, "gauge")
    family("vllm:num_requests_waiting", {"": clock.waiting}, "gauge")
    family("vllm:kv_cache_usage_perc", {"": clock.kv_usage}, "gauge")
    family("vllm:num_preemptions_total", {"": clock.preemptions})
    family("vllm:prompt_tokens_total", {"": stats.prompt_tokens})
    family("vllm:generation_tokens_total", {"": stats.generation_tokens})
    ended = {f',finished_reason="{reason}"': count for reason, count in stats.finished.items()}
    family("vllm:request_success_total", ended)
    if cache is not None:
        family("vllm:prefix_cache_queries_total", {"": cache.queries})
        family("vllm:prefix_cache_hits_total", {"": cache.hits})
        family("vllm:prompt_tokens_cached_total", {"": cache.hits})
    if settings.spec_tokens:
        family("vllm:spec_decode_num_drafts_total", {"": stats.drafts})
        family("vllm:spec_decode_num_draft_tokens_total", {"": stats.draft_tokens})
        family("vllm:spec_decode_num_accepted_tokens_total", {"": stats.accepted_tokens})
        places = zip_longest(range(settings.spec_tokens), stats.accepted_at, fillvalue=0)
        accepted = {f',position="{position}"': count for position, count in places}
        family("vllm:spec_decode_num_accepted_tokens_per_pos_total", accepted)
    for histogram_name, histogram in stats.latencies.by_name.items():
        lines += histogram.lines(histogram_name, label)
    return "\n".join(lines) + "\n"


def dcgm_text(power: PowerMeter) -> str:
    """Power in watts, energy in millijoules since the start, and utilization in percent of one GPU
    that is busy while there are requests.
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
