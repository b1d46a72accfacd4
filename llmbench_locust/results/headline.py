"""A finished run in one line, and in six tiles: what the report and the page show first."""

from __future__ import annotations

import numpy as np

from llmbench_locust.metrics.extended import Figures

NOTHING = "n/a"


def headline(figures: Figures) -> str:
    """For example ``8.0 req/s · SLO met 98.1% · P99 TTFT 223 ms``."""
    summary, attained = figures.summary, figures.block.get("slo_attainment") or {}
    parts = [f"{summary.request_throughput:.1f} req/s"]
    if attained.get("all") is not None:
        parts.append(f"SLO met {attained['all'] * 100:.1f}%")
    name = "ttft" if summary.kind == "generation" else "e2el"
    p99 = _percentile(figures, name, 99)
    if p99 != NOTHING:
        parts.append(f"P99 {name.upper()} {p99} ms")
    if summary.failed:
        parts.append(f"{summary.failed} failed")
    return " · ".join(parts)


def tiles(figures: Figures) -> list[tuple[str, str]]:
    """(title, value) of the figures that one looks at first."""
    summary = figures.summary
    generation = summary.kind == "generation"
    found = []
    for name in ("ttft", "tpot", "e2el") if generation else ("e2el",):
        p50, p99 = _percentile(figures, name, 50), _percentile(figures, name, 99)
        found.append((f"{name.upper()} P50 / P99 (ms)", f"{p50} / {p99}"))
    if generation:
        found.append(("Output tokens/s", f"{summary.output_throughput:,.0f}"))
    goodput = summary.request_goodput
    shown = NOTHING if goodput is None else f"{goodput:.2f}"
    found.append(("Goodput (req/s)", shown))
    paid = figures.block.get("cost")
    if paid and generation:
        million = paid["per_million_output_tokens"]
        shown = NOTHING if million is None else f"{million:.4g}"
        found.append(("Cost of a million output tokens", shown))
    total = summary.completed + summary.failed
    found.append(("Failed", f"{summary.failed} of {total}"))
    return found


def _percentile(figures: Figures, name: str, p: float) -> str:
    values = getattr(figures.summary.latencies, f"{name}_s")
    some = values[~np.isnan(values)]
    if not len(some):
        return NOTHING
    value = float(np.percentile(some, p)) * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
