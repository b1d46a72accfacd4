"""`/metrics`: this run's counters, gauges and histograms, in base units and with names that match
what LLM servers export.

Read from the live statistics when Prometheus asks; nothing is counted twice. A new run starts from
0, which Prometheus takes as a reset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.metrics.latencies import LATENCIES
from llmbench_locust.metrics.live import LiveStats

#: (total of the live statistics, name, help)
_COUNTERS = (
    ("offered", "requests_offered", "Requests that were due."),
    ("sent", "requests_sent", "Requests that were sent."),
    ("token_events", "token_events", "Chunks that carried output, live."),
    ("total_input_tokens", "prompt_tokens", "Prompt tokens of successful requests."),
    ("total_output_tokens", "generation_tokens", "Output tokens of successful requests."),
)
_GAUGES = (
    ("in_flight", "num_requests_running", "Requests in flight."),
    ("waiting", "num_requests_waiting", "Requests that are due and wait for --max-concurrency."),
)


class LiveCollector:
    """A prometheus_client collector over `LiveStats`."""

    def __init__(self, live: LiveStats) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        live = self._live
        totals = live.totals()
        yield InfoMetricFamily("llmbench_run", "What the run is.", value=_labels(live.info))
        outcomes = CounterMetricFamily(
            "llmbench_requests", "Requests that have an outcome.", labels=["outcome"]
        )
        outcomes.add_metric(["success"], totals["completed"])
        for kind, count in live.errors.items():
            outcomes.add_metric([kind], count)
        yield outcomes
        for total, name, text in _COUNTERS:
            yield CounterMetricFamily(f"llmbench_{name}", text, value=totals[total])
        for total, name, text in _GAUGES:
            if totals[total] is not None:
                yield GaugeMetricFamily(f"llmbench_{name}", text, value=totals[total])
        for row in LATENCIES:
            bounds, cumulated, sum_s = live.histogram(row.key)
            count = live.samples[row.key].count
            buckets: list[JsonValue] = [
                (f"{b:.6g}", float(n)) for b, n in zip(bounds, cumulated, strict=True)
            ]
            yield HistogramMetricFamily(
                f"llmbench_{row.stem}_seconds",
                row.help,
                buckets=[*buckets, ("+Inf", count)],
                sum_value=sum_s,
            )
        yield from self._objectives()
        yield from self._audit()

    def _objectives(self) -> Iterator[Metric]:
        shares = {r["metric"]: r["share"] for r in self._live.slo() if r["share"] is not None}
        yield from _gauge(
            "slo_attainment_ratio", "Share of requests that met it.", "objective", shares
        )

    def _audit(self) -> Iterator[Metric]:
        audit = self._live.audit_now()
        for kind, text in (
            ("send", "How late requests were sent."),
            ("loop", "How late the event loop ran."),
        ):
            lag = audit.get(f"{kind}_lag_ms") or {}
            quantiles = (("0.5", "p50"), ("0.99", "p99"), ("1", "max"))
            found = {q: lag[name] / 1000 for q, name in quantiles if lag.get(name) is not None}
            yield from _gauge(f"{kind}_lag_seconds", text, "quantile", found)
        cpu = audit.get("cpu_fraction") or {}
        text = "CPU of a client process, of one core."
        yield from _gauge("process_cpu_ratio", text, "process", cpu)
        if audit.get("client_limited") is not None:
            yield GaugeMetricFamily(
                "llmbench_client_limited",
                "1 when the client was the bottleneck.",
                value=float(audit["client_limited"]),
            )


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Iterator[Metric]:
    """A gauge with a value for each value of ``label``; none without values."""
    if values:
        found = GaugeMetricFamily(f"llmbench_{name}", text, labels=[label])
        for key, value in values.items():
            found.add_metric([key], value)
        yield found


def registry_of(live: LiveStats) -> CollectorRegistry:
    """A registry of our own: nothing of the process's default one is exported."""
    registry = CollectorRegistry()
    registry.register(LiveCollector(live))
    return registry


def _labels(info: Json) -> dict[str, str]:
    known = {"model", "backend", "base_url", "dataset"}
    known |= {"num_prompts", "request_rate", "max_concurrency"}
    return {name: str(info[name]) for name in sorted(known) if info.get(name) is not None}
