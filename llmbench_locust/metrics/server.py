"""Figures of a run from the metrics of the server and its GPUs. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.server_metrics.attribution import sentences, ttft_parts
from llmbench_locust.server_metrics.energy import energy_of
from llmbench_locust.server_metrics.figures import gauges_of, summed_gauges
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.vocabulary import GPU_METRICS
from llmbench_locust.server_metrics.watch import server_block

#: A page that is slow to answer has its last reading at most so many seconds before the end.
UNREAD_S = 10.0


def server_figures(facts: RunFacts, summary: Summary) -> Json | None:
    """Figures of ``all`` replicas together and of each by URL; None without readings."""
    together, each = server_block(facts.server, facts.config.metric_percentiles)
    if together is None or not (
        together["gauges"] or together["counters"] or together["restarted"]
    ):
        return None
    ttft, unread = summary.distributions.get("ttft"), _unread(facts)
    # The TTFT of a retried request has pauses and failed attempts. The first part of a resumed run,
    # and what a replica counted before it was restarted, are in no reading.
    retried = any(facts.columns.texts["retried"])
    whole = not (unread or together["restarted"] or facts.resumed or retried)
    mean_s = ttft.mean / 1000 if ttft is not None and summary.completed and whole else None
    busiest = max(
        facts.server.values(),
        key=lambda found: max(
            (reading.values.get("kv_cache_usage", 0.0) for reading in found), default=-1.0
        ),
    )
    found: Json = {
        "all": together,
        "replicas": each,
        "ttft_parts_s": ttft_parts(mean_s, together) if mean_s is not None else None,
        "attribution": unread + sentences(mean_s, together, busiest),
    }
    return found | series(facts, facts.server)


def _unread(facts: RunFacts) -> list[str]:
    """A sentence if a page could not be read any more: its figures are of a part of the run."""
    last_s = min(found[-1].time_s for found in facts.server.values() if found)
    unread_s = facts.origin_s + facts.duration_s - last_s
    if unread_s < UNREAD_S:
        return []
    return [f"These figures leave out the last {unread_s:.0f} s: a page could not be read any more"]


def series(facts: RunFacts, pages: Mapping[str, Sequence[Reading]]) -> Json:
    """With --save-detailed ``series``: each reading, ``time_s`` from the start of the arrivals."""
    if not facts.config.save_detailed:
        return {}
    return {
        "series": {
            url: [
                {**dataclasses.asdict(reading), "time_s": reading.time_s - facts.origin_s}
                for reading in readings
            ]
            for url, readings in pages.items()
        }
    }


def gpu_figures(facts: RunFacts, summary: Summary) -> Json | None:
    """Power (W), utilization (0 to 1) and memory (bytes) over all GPUs, and ``energy_j`` from the
    start of the arrivals to the last end, or None with an ``energy_reason``. None without a GPU
    metrics page.
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
