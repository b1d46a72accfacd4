"""Several runs in one chart: latency distributions and time series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from llmbench_locust.compare.reading import Run
from llmbench_locust.metrics.latencies import KEYS
from llmbench_locust.results.charts import Figure, layout, trace
from llmbench_locust.statistics.blocks import Floats

MOST_POINTS = 2000
#: Distinguishable with colour vision deficiency. Further sides repeat them, dashed and hollow.
COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#b279a2", "#72b7b2", "#9d755d", "#7f7f7f")


@dataclass(frozen=True, slots=True)
class Side:
    """Runs drawn in one colour under one name. ``again``: the colour is used a second time."""

    name: str
    colour: str
    runs: Sequence[Run]
    again: bool = False


def overlay(sides: Sequence[Side]) -> list[tuple[str, Figure]]:
    """Latency distributions and timelines of all sides that have requests."""
    found: list[tuple[str, Figure]] = []
    for name in KEYS:
        traces = [t for side in sides for t in _ecdf(side, name)]
        if traces:
            title = f"{name.upper()}: share of values at or below"
            found.append((title, {"data": traces, "layout": layout("ms", "share", logx=True)}))
    timelines = (
        ("TTFT over time", "ms", _ttft_over_time),
        ("Output tokens per second over time", "tok/s", _tokens_over_time),
    )
    for title, unit, draw in timelines:
        traces = [t for side in sides for run in side.runs for t in draw(side, run)]
        if traces:
            found.append((title, {"data": traces, "layout": layout("seconds", unit)}))
    return found


def _ecdf(side: Side, name: str) -> list[Figure]:
    samples = [
        run.requests.samples[name].values
        for run in side.runs
        if run.requests and name in run.requests.samples
    ]
    if not samples:
        return []
    values = np.sort(np.concatenate(samples)) * 1000
    shares = np.arange(1, len(values) + 1) / len(values)
    # Evenly spread points, and all of the last hundredth if possible: the tail matters most.
    rows = np.unique(
        np.concatenate(
            [
                np.linspace(0, len(values) - 1, MOST_POINTS).astype(int),
                np.arange(max(0, len(values) - MOST_POINTS), len(values))[-len(values) // 100 :],
            ]
        )
    )
    x, y = np.append(values[0], values[rows]), np.append(0.0, shares[rows])
    return [_trace(side, side.name, x, y, mode="lines")]


def _ttft_over_time(side: Side, run: Run) -> list[Figure]:
    found = run.requests
    if found is None or found.start is None or "ttft" not in found.samples:
        return []
    start = found.start[found.ok]
    step = max(1, len(start) // MOST_POINTS)
    x, y = start - start.min(), found.samples["ttft"].values * 1000
    return [_trace(side, _of(side, run), x[::step], y[::step], mode="markers")]


def _tokens_over_time(side: Side, run: Run) -> list[Figure]:
    found = run.requests
    if found is None or found.start is None or found.end is None or found.output is None:
        return []
    if not found.ok.any():
        return []
    ends = found.end[found.ok] - found.start[found.ok].min()
    counts, edges = np.histogram(ends, 60, (0.0, float(ends.max())), weights=found.output[found.ok])
    rate = counts / (edges[1] - edges[0])
    return [_trace(side, _of(side, run), edges[1:], rate, mode="lines")]


def _of(side: Side, run: Run) -> str:
    return side.name if len(side.runs) == 1 else f"{side.name}: {run.name}"


def _trace(side: Side, name: str, x: Floats, y: Floats, mode: str) -> Figure:
    more: Figure = {"line": {"color": side.colour, "dash": "dash" if side.again else "solid"}}
    if mode == "markers":
        symbol = "circle-open" if side.again else "circle"
        more = {"marker": {"color": side.colour, "size": 4, "symbol": symbol}}
    return trace("scattergl", escape(name), x, y, mode=mode, opacity=0.7, **more)
