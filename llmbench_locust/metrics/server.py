"""The server's own figures of a run, and what they explain. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.server_metrics.attribution import sentences, ttft_parts
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.watch import server_block


def server_figures(facts: RunFacts, summary: Summary) -> Json | None:
    """``all`` replicas together and each by URL; None without readings."""
    together, each = server_block(facts.server, facts.config.metric_percentiles)
    if together is None or not (
        together["gauges"] or together["counters"] or together["restarted"]
    ):
        return None
    ttft = summary.distributions.get("ttft")
    mean_s = ttft.mean / 1000 if ttft is not None and summary.completed else None
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
        "attribution": sentences(mean_s, together, busiest),
    }
    return found | series(facts, facts.server)


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
