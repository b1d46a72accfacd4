"""The console table's figures for the live page: from running totals, later the document."""

from __future__ import annotations

import math

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.latencies import LATENCIES

#: key of the result document → (name, unit). The order is the table's.
FIGURES = {
    "completed": ("Successful requests", ""),
    "failed": ("Failed requests", ""),
    "duration": ("Benchmark duration", "s"),
    "total_input_tokens": ("Total input tokens", ""),
    "total_output_tokens": ("Total generated tokens", ""),
    "request_throughput": ("Request throughput", "req/s"),
    "request_goodput": ("Request goodput", "req/s"),
    "output_throughput": ("Output token throughput", "tok/s"),
    "total_token_throughput": ("Total token throughput", "tok/s"),
    "max_output_tokens_per_s": ("Peak output token throughput", "tok/s"),
    "max_concurrent_requests": ("Peak concurrent requests", ""),
}


def number(value: object) -> float | int | None:
    """The value if it is a finite number, else None: a result may hold "inf" or null."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def figure_rows(totals: Json, document: Json | None) -> list[Json]:
    """``{key, name, unit, value}`` of each known figure; the document's value is final."""
    rows = []
    for key, (name, unit) in FIGURES.items():
        value = number(document.get(key)) if document is not None else None
        if value is None:
            value = number(totals.get(key))
        if value is not None:
            rows.append({"key": key, "name": name, "unit": unit, "value": value})
    return rows


def latency_rows(
    live: dict[str, dict[str, float]],
    percentiles: tuple[float, ...],
    document: Json | None,
) -> list[Json]:
    """``{key, name, unit: "ms", mean, median, std, max, percentiles: {"p99": …}}`` for each latency
    that has samples.

    ``live``: `Samples.figures` by latency.
    """
    rows = []
    for key, name in ((row.key, row.name) for row in LATENCIES):
        figures = dict(live.get(key, {}))
        for stat in ("mean", "median", "std", *(f"p{q:g}" for q in percentiles)):
            final = number(document.get(f"{stat}_{key}_ms")) if document is not None else None
            if final is not None:
                figures[stat] = final
        if not figures:
            continue
        row: Json = {"key": key, "name": name, "unit": "ms"}
        row |= {stat: number(figures.get(stat)) for stat in ("mean", "median", "std", "max")}
        row["percentiles"] = {f"p{q:g}": number(figures.get(f"p{q:g}")) for q in percentiles}
        rows.append(row)
    return rows
