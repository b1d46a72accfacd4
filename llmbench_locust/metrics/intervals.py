"""95% intervals of a run's figures from that run alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.latencies import input_lengths
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.records import RecordColumns
from llmbench_locust.statistics.blocks import standard_error
from llmbench_locust.statistics.estimates import (
    Sample,
    mean_interval,
    quantile_interval,
    rate_influence,
)

LEVEL = 0.95

Ends = list[float | None]  # [low, high]; None if the run has no such bound


def intervals(
    columns: RecordColumns, summary: Summary, percentiles: Sequence[float], exact: NDArray[np.bool_]
) -> dict[str, dict[str, Ends | None] | Ends | float | None]:
    """``{level, ttft_ms: {mean: [low, high], p50: …}, …, output_throughput: [low, high], …}``.

    ``exact``: bool (n,), rows whose token events are all kept; if any are missing, there is no
    interval of the ITL. None if a run has too few requests (20). These intervals do not cover
    differences between runs.
    """
    order = np.argsort(columns.floats["start_time"], kind="stable")
    found, points = summary.latencies, sorted({50.0, 90.0, 99.0, *percentiles} - {100.0})
    result: dict[str, dict[str, Ends | None] | Ends | float | None] = {"level": LEVEL}
    shown = {"ttft": found.ttft_s, "tpot": found.tpot_s, "e2el": found.e2el_s}
    for name, values in (shown | ({"ttfo": found.ttfo_s} if found.reasoned else {})).items():
        ordered = values[order]
        known = ~np.isnan(ordered)
        result[f"{name}_ms"] = _latency(Sample(ordered[known] * 1000, known * 1), points)
    if exact.all() and len(found.itl_s):
        result["itl_ms"] = _latency(_gaps(columns, found.itl_s, order), points)
    ended = columns.floats["end_time"]
    rows = np.flatnonzero(found.ok & ~np.isnan(ended))
    outputs = summary.output_lens.astype(np.float64)
    for key, value, amounts in (
        ("request_throughput", summary.request_throughput, np.ones(len(ended))),
        ("output_throughput", summary.output_throughput, outputs),
        (
            "total_token_throughput",
            summary.total_token_throughput,
            input_lengths(columns) + outputs,
        ),
    ):
        if key == "request_throughput" or summary.kind == "generation":
            result[key] = _rate(value, amounts[rows], ended[rows])
    return result


def _gaps(columns: RecordColumns, itl_s: NDArray[np.float64], order: NDArray[np.intp]) -> Sample:
    """The gaps of each request, with requests by start time."""
    counts = np.where(columns.success, np.maximum(np.diff(columns.token_offsets) - 1, 0), 0)
    ends = np.cumsum(counts)
    moved = counts[order]
    first = np.repeat((ends - counts)[order] - (np.cumsum(moved) - moved), moved)
    return Sample(itl_s[first + np.arange(len(itl_s))] * 1000, moved)


def _latency(sample: Sample, points: Sequence[float]) -> dict[str, Ends | None] | None:
    if not len(sample.values):
        return None
    found = {"mean": _ends(mean_interval(sample, LEVEL))}
    for point in points:
        name = f"p{point:g}"
        found[name] = _ends(quantile_interval(sample, point / 100, LEVEL))
    return found


def _rate(value: float, amounts: NDArray[np.float64], ends: NDArray[np.float64]) -> Ends | None:
    if value <= 0 or len(ends) < 2:
        return None
    error = standard_error(rate_influence(amounts, ends))
    if math.isinf(error.se):
        return None
    factor = math.exp(min(error.margin(LEVEL), 700.0))
    return [value / factor, value * factor]


def _ends(interval: tuple[float, float] | None) -> Ends | None:
    if interval is None:
        return None
    low, high = interval
    return [low, high if math.isfinite(high) else None]
