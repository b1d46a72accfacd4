"""What the server's GPUs did and drew in a run. Pure."""

from __future__ import annotations

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.server import series
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.server_metrics.energy import energy_of
from llmbench_locust.server_metrics.figures import gauges_of, summed_gauges
from llmbench_locust.server_metrics.vocabulary import GPU_METRICS


def gpu_figures(facts: RunFacts, summary: Summary) -> Json | None:
    """Power (W), utilization (0 to 1) and memory (bytes) over all GPUs, and ``energy_j`` from the
    start of the arrivals to the last end: None with an ``energy_reason`` where it is unknown. None
    without a page about GPUs.
    """
    pages = {url: gauges_of(found, GPU_METRICS) for url, found in facts.gpus.items()}
    if not any(pages.values()):
        return None
    end_s = facts.origin_s + facts.duration_s
    energies = [energy_of(found, facts.origin_s, end_s) for found in facts.gpus.values()]
    reason = next((found.reason for found in energies if found.joules is None), "")
    joules = None if reason else sum(found.joules or 0.0 for found in energies)
    tokens, requests = summary.total_output, summary.completed
    found: Json = {
        **summed_gauges(list(pages.values())),
        "pages": pages,
        "energy_j": joules,
        "energy_reason": reason,
        "joules_per_output_token": joules / tokens if joules is not None and tokens else None,
        "output_tokens_per_joule": tokens / joules if joules else None,
        "joules_per_request": joules / requests if joules is not None and requests else None,
    }
    return found | series(facts, facts.gpus)
