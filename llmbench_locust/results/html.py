"""The HTML report: one file that stands alone (plotly's own script is in it). Only formats; everything is escaped.

Also the timeline of requests (``--plot-timeline``) and the distributions of lengths (``--plot-dataset-stats``).
"""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np

from llmbench_locust.metrics.latencies import Floats
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.files import clean

#: A timeline of more rows than this is read by nobody and drawn by no browser.
MOST_ROWS = 1000
MOST_POINTS = 20_000

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1100px;padding:1rem;background:Canvas;color:CanvasText}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.bad{background:#b00020;color:#fff;padding:.6rem 1rem;border-radius:.3rem;font-weight:600}
.good{background:#1b6e3c;color:#fff;padding:.6rem 1rem;border-radius:.3rem}
.chart{width:100%;min-height:360px;background:#fff;border-radius:.3rem;margin:.5rem 0}
pre{overflow-x:auto}
"""


def report_html(
    config: dict[str, Any], columns: RecordColumns, summary: Summary, document: dict[str, Any], origin_s: float
) -> str:
    """The whole report. ``config``: redacted; ``origin_s``: start of the arrivals on the records' clock."""
    block = document.get("llmbench") or {}
    charts = [
        ("Load over time", _load_over_time(columns, origin_s)),
        ("Latency over time", _latency_over_time(columns, summary, origin_s, config.get("goodput") or {})),
        ("Distributions", _distributions(summary)),
        ("Timeline of requests", timeline(columns, origin_s, tuple(config.get("timeline_itl_thresholds") or (25, 50)))),
    ]
    figures = "".join(_chart(i, title, figure) for i, (title, figure) in enumerate(charts) if figure is not None)
    title = f"{document.get('model_id')} on {document.get('backend')}"
    return _page(
        f"llmbench: {title}",
        f"<h1>{_e(title)}</h1><p>{_e(document.get('date'))}, {_e(document.get('completed'))} requests completed</p>"
        + _verdict(block)
        + f"<h2>Summary</h2>{_summary(document)}"
        + figures
        + _errors(block)
        + f"<h2>Client audit</h2>{_table(_flat(block.get('audit') or {}))}"
        + f"<h2>Configuration</h2>{_table(_set(config))}"
        + f"<h2>Environment</h2>{_table(_flat(block.get('environment') or {}))}",
    )


def timeline_html(columns: RecordColumns, origin_s: float, thresholds_ms: tuple[float, float]) -> str:
    """The timeline alone."""
    figure = timeline(columns, origin_s, thresholds_ms)
    return _page("Timeline of requests", _chart(0, "Timeline of requests", figure) if figure else "<p>No request was sent.</p>")


def dataset_stats_html(columns: RecordColumns, summary: Summary) -> str:
    """Distributions of input and output lengths."""
    asked = columns.ints["expected_output_len"]
    traces = [
        _histogram(columns.ints["prompt_len"].astype(float), "input tokens"),
        _histogram(asked[asked >= 0].astype(float), "output tokens asked for"),
        _histogram(summary.output_lens[summary.latencies.ok].astype(float), "output tokens"),
    ]
    figure = {"data": traces, "layout": _layout("tokens", "requests", barmode="overlay")}
    return _page("Lengths of the dataset", _chart(0, "Lengths", figure))


# --- charts: dicts as plotly's JSON has them -------------------------------------------------------------------------


def timeline(columns: RecordColumns, origin_s: float, thresholds_ms: tuple[float, ...]) -> dict[str, Any] | None:
    """A row for each request: waiting, to the first token, then each gap in the colour of its length."""
    start = columns.floats["start_time"]
    rows = np.flatnonzero(~np.isnan(start))[:MOST_ROWS]
    if not len(rows):
        return None
    low, high = thresholds_ms[0], thresholds_ms[1]
    parts: dict[str, tuple[str, list[Any], list[Any]]] = {
        "waiting": ("#b0b7c3", [], []),
        "to first token": ("#4c78a8", [], []),
        f"ITL below {low:g} ms": ("#54a24b", [], []),
        f"ITL {low:g} to {high:g} ms": ("#eeca3b", [], []),
        f"ITL above {high:g} ms": ("#e45756", [], []),
        "failed": ("#7f0000", [], []),
    }
    names = list(parts)

    def draw(name: str, a: float, b: float, y: int) -> None:
        _, xs, ys = parts[name]
        xs += [a, b, None]
        ys += [y, y, None]

    for y, row in enumerate(rows.tolist()):
        begin = float(start[row]) - origin_s
        due = float(columns.floats["due_time"][row]) - origin_s
        if due == due and begin - due > 1e-3:
            draw("waiting", due, begin, y)
        times = columns.token_times[columns.token_offsets[row] : columns.token_offsets[row + 1]] - origin_s
        if not columns.success[row] or not len(times):
            draw(
                "to first token" if columns.success[row] else "failed",
                begin,
                float(columns.floats["end_time"][row]) - origin_s,
                y,
            )
            continue
        draw("to first token", begin, float(times[0]), y)
        _gaps_of(times, (low, high), lambda k, a, b, y=y: draw(names[2 + k], a, b, y))
    data = [
        {"type": "scattergl", "mode": "lines", "name": name, "x": xs, "y": ys, "line": {"color": colour, "width": 3}}
        for name, (colour, xs, ys) in parts.items()
        if xs
    ]
    return {"data": data, "layout": _layout("seconds", "request", height=max(360, min(1200, 8 * len(rows))))}


def _gaps_of(times: Floats, limits_ms: tuple[float, float], draw: Any) -> None:
    """Draw neighbouring gaps of one colour as one line."""
    kinds = np.searchsorted(np.array(limits_ms), np.diff(times) * 1000, side="right")
    begin = 0
    for i in range(1, len(kinds) + 1):
        if i == len(kinds) or kinds[i] != kinds[begin]:
            draw(int(kinds[begin]), float(times[begin]), float(times[i]))
            begin = i


def _load_over_time(columns: RecordColumns, origin_s: float) -> dict[str, Any] | None:
    start, end = columns.floats["start_time"] - origin_s, columns.floats["end_time"] - origin_s
    known = ~np.isnan(start) & ~np.isnan(end)
    if not np.any(known):
        return None
    seconds = int(np.ceil(end[known].max())) + 1
    edges = np.arange(seconds + 1)
    ok = np.repeat(columns.success, np.diff(columns.token_offsets))
    times = np.concatenate([start[known], end[known]])
    change = np.concatenate([np.ones(int(known.sum())), -np.ones(int(known.sum()))])
    order = np.argsort(times, kind="stable")
    steps, flying = _thin(times[order], np.cumsum(change[order]))
    sent = np.histogram(start[known], edges)[0]
    tokens = np.histogram(columns.token_times[ok] - origin_s, edges)[0]
    data = [
        {"type": "scatter", "name": "sent/s", "x": edges[:-1].tolist(), "y": sent.tolist(), "line": {"shape": "hv"}},
        {"type": "scattergl", "name": "in flight", "x": steps.tolist(), "y": flying.tolist(), "line": {"shape": "hv"}},
        {"type": "scatter", "name": "token events/s", "x": edges[:-1].tolist(), "y": tokens.tolist(), "yaxis": "y2"},
    ]
    layout = _layout("seconds", "requests", yaxis2={"title": {"text": "token events/s"}, "overlaying": "y", "side": "right"})
    return {"data": data, "layout": layout}


def _latency_over_time(
    columns: RecordColumns, summary: Summary, origin_s: float, goodput_ms: dict[str, float]
) -> dict[str, Any] | None:
    start = columns.floats["start_time"] - origin_s
    found = summary.latencies
    data: list[dict[str, Any]] = []
    for name, values in (("ttft", found.ttft_s), ("tpot", found.tpot_s), ("e2el", found.e2el_s)):
        there = ~np.isnan(values) & ~np.isnan(start)
        if np.any(there):
            x, y = _thin(start[there], values[there] * 1000)
            data.append({"type": "scattergl", "mode": "markers", "name": name.upper(), "x": x.tolist(), "y": y.tolist()})
    if not data:
        return None
    span = [float(np.nanmin(start)), float(np.nanmax(start))]
    for name, limit in goodput_ms.items():
        line = {"dash": "dash", "width": 1}
        data.append(
            {"type": "scatter", "mode": "lines", "name": f"{name.upper()} objective", "x": span, "y": [limit] * 2, "line": line}
        )
    return {"data": data, "layout": _layout("start, seconds", "ms", logy=True)}


def _distributions(summary: Summary) -> dict[str, Any] | None:
    found = summary.latencies
    data = []
    for name, values in (("TTFT", found.ttft_s), ("TPOT", found.tpot_s), ("ITL", found.itl_s), ("E2EL", found.e2el_s)):
        some = np.sort(values[~np.isnan(values)]) * 1000
        if len(some):
            shares = np.linspace(0, 100, min(len(some), 500))
            data.append({"type": "scatter", "name": name, "x": np.percentile(some, shares).tolist(), "y": shares.tolist()})
    return {"data": data, "layout": _layout("ms", "% of samples at most", logx=True)} if data else None


def _histogram(values: Floats, name: str) -> dict[str, Any]:
    return {"type": "histogram", "name": name, "x": values.tolist(), "opacity": 0.6}


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    step = max(1, len(x) // MOST_POINTS)
    return x[::step], y[::step]


def _layout(x: str, y: str, *, logx: bool = False, logy: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": x}, "type": "log" if logx else "linear"},
        "yaxis": {"title": {"text": y}, "type": "log" if logy else "linear"},
        "margin": {"l": 60, "r": 60, "t": 20, "b": 45},
        "legend": {"orientation": "h", "y": 1.08},
        **more,
    }


# --- the page --------------------------------------------------------------------------------------------------------


def _page(title: str, body: str) -> str:
    from plotly.offline import get_plotlyjs

    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body>{body}</body></html>"
    )


def _chart(number: int, title: str, figure: dict[str, Any]) -> str:
    # "<" never stands in the script, so that no text in the data can end it.
    data = json.dumps(clean(figure)).replace("<", "\\u003c")
    return (
        f'<h2>{_e(title)}</h2><div class="chart" id="chart{number}"></div>'
        f'<script>(f=>Plotly.newPlot("chart{number}",f.data,f.layout,{{responsive:true,displaylogo:false}}))({data})</script>'
    )


def _verdict(block: dict[str, Any]) -> str:
    audit = block.get("audit") or {}
    if not audit:
        return ""
    if audit.get("client_limited"):
        return f'<p class="bad">The client was the limit: {_e("; ".join(audit.get("reasons", [])))}</p>'
    return '<p class="good">The client was not the limit.</p>'


def _summary(document: dict[str, Any]) -> str:
    skipped = ("llmbench", "rps_change_events")
    rows = {k: v for k, v in document.items() if k not in skipped and not isinstance(v, list | dict)}
    return _table(rows)


def _errors(block: dict[str, Any]) -> str:
    errors = block.get("errors") or {}
    if not errors:
        return ""
    rows = "".join(
        f'<tr><td>{_e(k)}</td><td class="n">{_e(v["count"])}</td><td>{_e(v["first"])}</td></tr>' for k, v in errors.items()
    )
    return f"<h2>Errors</h2><table><tr><th>kind</th><th>count</th><th>first</th></tr>{rows}</table>"


def _table(rows: dict[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{_e(k)}</td><td{' class=n' if isinstance(v, int | float) else ''}>{_e(_short(v))}</td></tr>"
        for k, v in rows.items()
    )
    return f"<table>{cells}</table>"


def _flat(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _set(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if v not in (None, False, "", (), {}, [])}


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _e(value: Any) -> str:
    return html.escape(str(value))
