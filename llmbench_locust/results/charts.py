"""Charts from records as plotly's JSON. Nothing here imports plotly.

Texts in a figure are escaped here, because plotly interprets some HTML in them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.concurrency import sweep
from llmbench_locust.metrics.latencies import LATENCIES, Floats, Ints, Latencies
from llmbench_locust.metrics.tokens import inner_events
from llmbench_locust.records import RecordColumns
from llmbench_locust.server_metrics.reading import Reading

Figure = Json
Values = Floats | NDArray[np.int64] | Sequence[float | None]

#: Number of points that a browser draws quickly.
MOST_POINTS = 20_000
#: Points of a distribution's curve, and bins of a chart over time.
CURVE = 400
BINS = 120
#: Requests with a bar each in the chart of lengths.
MOST_BARS = 4000

_COLOURS = {
    "ttft": "#4c78a8",
    "ttfo": "#72b7b2",
    "tpot": "#f58518",
    "itl": "#54a24b",
    "e2el": "#b279a2",
}


def load_over_time(
    columns: RecordColumns, origin_s: float, gone: NDArray[np.bool_]
) -> Figure | None:
    """Sent and completed requests and token events per second, and requests in flight. ``gone``:
    rows whose token events are not all kept; if there are any, the events are left out.
    """
    start, end = columns.floats["start_time"] - origin_s, columns.floats["end_time"] - origin_s
    known = ~np.isnan(start) & ~np.isnan(end)
    if not np.any(known):
        return None
    flying = sweep(columns)
    steps, level = _thin(flying.time_s - origin_s, flying.level.astype(np.float64))
    last = max(float(end[known].max()), 1e-3)
    edges = np.linspace(0.0, last, min(max(int(np.ceil(last)), 1), BINS) + 1)
    width = float(edges[1] - edges[0])

    def rate(times: Floats) -> Floats:
        return np.histogram(times, edges)[0] / width

    def stairs(name: str, times: Floats) -> Figure:
        rates = rate(times)  # the last step ends where its bin ends
        return trace("scatter", name, edges, np.append(rates, rates[-1]), line={"shape": "hv"})

    data = [
        stairs("sent/s", start[known]),
        stairs("completed/s", end[columns.success & known]),
        trace("scattergl", "in flight", steps, level, line={"shape": "hv"}),
    ]
    if gone.any():
        return {"data": data, "layout": layout("seconds", "requests")}
    ok = np.repeat(columns.success, np.diff(columns.token_offsets))
    events = rate(columns.token_times[ok] - origin_s)
    middle = edges[:-1] + width / 2
    data.append(trace("scatter", "token events/s", middle, events, yaxis="y2"))
    right = _right_axis("token events/s", rangemode="tozero")
    return {"data": data, "layout": layout("seconds", "requests", yaxis2=right)}


#: Lines of `pages_over_time`: (figure, title, axis, factor).
SERVER_LINES = (
    ("running", "running", "y", 1.0),
    ("waiting", "waiting", "y", 1.0),
    ("kv_cache_usage", "KV cache %", "y2", 100.0),
)
GPU_LINES = (
    ("gpu_power", "power (W)", "y", 1.0),
    ("gpu_utilization", "utilization %", "y2", 100.0),
)


def pages_over_time(
    pages: Mapping[str, Sequence[Reading]],
    lines: Sequence[tuple[str, str, str, float]],
    titles: tuple[str, str],
    span: tuple[float, float],
) -> Figure | None:
    """The ``lines`` of each metrics page. ``titles``: of both axes, the right one in percent.
    ``span``: origin and duration of the run, seconds.
    """
    data: list[Figure] = []
    for url, readings in pages.items():
        where = f" {html.escape(url)}" if len(pages) > 1 else ""
        for name, title, axis, scale in lines:
            points = [(r.time_s - span[0], r.values[name]) for r in readings if name in r.values]
            if points:
                x, y = zip(*points, strict=True)
                values = [value * scale for value in y]
                data.append(trace("scatter", title + where, x, values, yaxis=axis))
    shape = layout("seconds", titles[0], yaxis2=_right_axis(titles[1], range=[0, 100]))
    shape["xaxis"]["range"] = [0.0, span[1]]
    return {"data": data, "layout": shape} if data else None


def _shown(found: Latencies) -> list[tuple[str, Floats]]:
    """(key, seconds) of each latency; the TTFO only if it differs from the TTFT."""
    rows = [row for row in LATENCIES if row.key != "ttfo" or found.reasoned]
    return [(row.key, row.of(found)) for row in rows]


def latency_over_time(
    columns: RecordColumns,
    found: Latencies,
    origin_s: float,
    gone: NDArray[np.bool_],
    goodput_ms: dict[str, float],
) -> Figure | None:
    """TTFT, TPOT and E2EL of each request, the ITL's median and P99 over time (without the rows
    that are ``gone``), and objectives.
    """
    start = columns.floats["start_time"] - origin_s
    data: list[Figure] = []
    for name, values in _shown(found):
        if name == "itl":
            continue
        there = ~np.isnan(values) & ~np.isnan(start)
        if np.any(there):
            x, y = _thin(start[there], values[there] * 1000)
            marker = {"color": _COLOURS[name], "size": 4, "opacity": 0.6}
            data.append(trace("scattergl", name.upper(), x, y, mode="markers", marker=marker))
    data += _itl_over_time(columns, origin_s, gone)
    if not data:
        return None
    span = [float(np.nanmin(start)), float(np.nanmax(columns.floats["end_time"] - origin_s))]
    data += [_objective(name, span, [limit, limit]) for name, limit in goodput_ms.items()]
    shape = layout("seconds (start of the request; ITL: of the gap)", "ms", logy=True)
    return {"data": data, "layout": shape}


def _itl_over_time(
    columns: RecordColumns, origin_s: float, gone: NDArray[np.bool_]
) -> list[Figure]:
    times, gaps = gaps_over_time(columns, columns.success & ~gone)
    if not len(gaps):
        return []
    edges = np.linspace(float(times.min()), float(times.max()) + 1e-9, BINS + 1)
    place = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, BINS - 1)
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(BINS + 1))
    rows = []
    for i in range(BINS):
        part = gaps[order[bounds[i] : bounds[i + 1]]] * 1000
        if len(part):
            rows.append((float(edges[i] - origin_s), *np.percentile(part, [50, 99]).tolist()))
    x = [row[0] for row in rows]
    found = []
    for name, k, dash in (("ITL median", 1, "solid"), ("ITL P99", 2, "dot")):
        line = {"color": _COLOURS["itl"], "dash": dash}
        found.append(trace("scatter", name, x, [row[k] for row in rows], mode="lines", line=line))
    return found


def gaps_over_time(
    columns: RecordColumns, rows: NDArray[np.bool_], most: int = 2_000_000
) -> tuple[Floats, Floats]:
    """(end of each gap, its length), in seconds, of the chosen rows; sampled above ``most``."""
    n = len(columns)
    step = max(1, -(-len(columns.token_times) // most))
    chosen = np.flatnonzero(rows & (np.arange(n) % step == 0))
    part = columns.take(chosen) if step > 1 or len(chosen) != n else columns
    inside = inner_events(part, part.success)
    return part.token_times[inside], np.diff(part.token_times, prepend=np.nan)[inside]


def distributions(found: Latencies, goodput_ms: dict[str, float]) -> Figure | None:
    """The share of samples at or below each value; objectives as vertical lines."""
    data: list[Figure] = []
    for name, values in _shown(found):
        some = values[~np.isnan(values)]
        if len(some):
            shares = np.linspace(0, 100, min(max(len(some), 2), CURVE))
            curve = np.percentile(some, shares) * 1000
            line = {"color": _COLOURS[name]}
            data.append(trace("scatter", name.upper(), curve, shares, line=line))
    if not data:
        return None
    data += [_objective(name, [limit, limit], [0, 100]) for name, limit in goodput_ms.items()]
    return {"data": data, "layout": layout("ms", "% of samples at or below", logx=True)}


def lengths(columns: RecordColumns, output: Ints) -> list[tuple[str, Figure]]:
    """The workload: distributions of input, output and total tokens, and both for each request."""
    prompt = columns.ints["prompt_len"]
    asked, ok = columns.ints["expected_output_len"], columns.success
    outputs = [_histogram(asked[asked >= 0], "asked for"), _histogram(output[ok], "received")]

    def figure(data: list[Figure]) -> Figure:
        return {"data": data, "layout": layout("tokens", "requests", barmode="overlay")}

    rows = np.arange(len(columns))[:MOST_BARS]
    bars = [
        trace("bar", "input tokens", rows, prompt[rows]),
        trace("bar", "output tokens", rows, output[rows]),
    ]
    each = {"data": bars, "layout": layout("request", "tokens", barmode="stack", bargap=0)}
    both = _histogram((prompt + output)[ok], "input + output")
    return [
        ("Input tokens", figure([_histogram(prompt, "input")])),
        ("Output tokens", figure(outputs)),
        ("Input and output together", figure([both])),
        ("Each request", each),
    ]


# --- small things


def layout(x: str, y: str, *, logx: bool = False, logy: bool = False, **more: Any) -> Figure:
    return {
        "xaxis": _axis(x, log=logx),
        # Few ticks: on a log axis plotly would label 8, 9 and 10, one over the other.
        "yaxis": {**_axis(y, log=logy), "rangemode": "tozero", **({"nticks": 3} if logy else {})},
        "margin": {"l": 60, "r": 60, "t": 30, "b": 45},
        # Grows upwards from the plot, however many lines it needs on a phone.
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02},
        "showlegend": True,  # also of a single line
        **more,
    }


def _axis(title: str, *, log: bool) -> Figure:
    """A log axis gets full numbers as labels: by default plotly writes 2 for 200."""
    scale = {"type": "log", "tickformat": "~g"} if log else {"type": "linear"}
    return {"title": {"text": title}, **scale}


def _right_axis(title: str, **more: object) -> Figure:
    """Has its own ticks: by default they would align with those of the left axis."""
    own = {"overlaying": "y", "side": "right", "tickmode": "auto", "showgrid": False}
    return {"title": {"text": title}, **own, **more}


def trace(kind: str, name: str, x: Values, y: Values, **more: object) -> Figure:
    return {"type": kind, "name": name, "x": _plain(x), "y": _plain(y), **more}


def upright(x0: float, x1: float | None = None, **more: object) -> Figure:
    """A shape of the plot's full height: a line at ``x0``, or a band from ``x0`` to ``x1``."""
    kind = "line" if x1 is None else "rect"
    ends = {"x0": x0, "x1": x0 if x1 is None else x1}
    return {"type": kind, "yref": "paper", "y0": 0, "y1": 1, **ends, **more}


def _plain(values: Values) -> list[float | None]:
    found: list[float | None] = values.tolist() if isinstance(values, np.ndarray) else [*values]
    return found


def _objective(name: str, x: list[float], y: list[float]) -> Figure:
    line = {"dash": "dash", "width": 1.5, "color": _COLOURS.get(name, "#888")}
    return trace("scatter", f"{name.upper()} objective", x, y, mode="lines", line=line)


def _histogram(values: NDArray[np.int64], name: str) -> Figure:
    """Bins are counted here, so that the page does not contain every value."""
    if not len(values):
        return trace("bar", name, [], [])
    low, high = int(values.min()), int(values.max())
    edges = np.arange(low, high + 2) - 0.5 if high - low < 40 else np.linspace(low, high, 41)
    counts = np.histogram(values, edges)[0]
    middles = (edges[:-1] + edges[1:]) / 2
    width = float(edges[1] - edges[0])
    return trace("bar", name, middles, counts, width=width, opacity=0.6)


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    step = max(1, len(x) // MOST_POINTS)
    return x[::step], y[::step]
