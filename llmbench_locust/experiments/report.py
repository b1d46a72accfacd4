"""report.html of a capacity search: attainment against load, and a table of its probes."""

from __future__ import annotations

import html

from llmbench_locust.json_types import Json
from llmbench_locust.results.charts import Figure, layout, trace, upright
from llmbench_locust.results.html import charts_html, page
from llmbench_locust.results.tables import html_table, short

_DARK, _GREY, _BAND = "#222222", "#999999", "rgba(76,120,168,0.25)"


def capacity_page(document: Json, words: str) -> str:
    """A self-contained page. ``document``: the content of capacity.json."""
    charts = charts_html([("Objectives against load", attainment_chart(document))])
    body = f"<pre>{html.escape(words)}</pre>\n{charts}\n{_table(document)}"
    return page("Capacity", body)


def attainment_chart(document: Json) -> Figure:
    """Probes with their intervals, the fitted curve, the target, the interval of the answer."""
    goal = _limiting(document)
    share = goal["share"] is not None
    shown = [p for p in document["probes"] if p["share"] is not None]
    good = [p for p in shown if not p["problem"]]
    scale = 100.0 if share else 1.0
    data: list[Json] = [
        trace(
            "scatter",
            name,
            [p["load"] for p in some],
            [p["share"] * scale for p in some],
            mode="markers",
            error_y=_bars(some, scale),
            text=[html.escape(p["file"]) for p in some],
            marker={"color": _DARK, "symbol": symbol, "size": 9},
        )
        for name, symbol, some in (
            ("probe", "circle", [p for p in good if not p["overloaded"]]),
            ("overloaded", "x", [p for p in good if p["overloaded"]]),
            ("not counted", "circle-open", [p for p in shown if p["problem"]]),
        )
        if some
    ]
    if document["curve"]:
        x, y = zip(*document["curve"], strict=True)
        line, shares = {"color": "#4c78a8", "dash": "solid"}, [value * scale for value in y]
        data.append(trace("scatter", "fitted curve", x, shares, mode="lines", line=line))
    words = f"requests that meet {goal['name']} (%)" if share else f"{goal['name']}: mean ÷ limit"
    figure = layout(f"load ({document['unit']})", html.escape(words), logx=True)
    return {"data": data, "layout": {**figure, "shapes": _shapes(document, scale)}}


def _limiting(document: Json) -> Json:
    """The goal that limits the capacity, which the shares of the probes and the curve are about."""
    goals = [goal for goal in document["goals"] if goal["name"] == document["limited_by"]]
    return max(goals, key=lambda goal: goal["share"] or 0.0)


def _bars(some: list[Json], scale: float) -> Json:
    if any(p["share_low"] is None for p in some):
        return {"visible": False}
    return {
        "symmetric": False,
        "array": [(p["share_high"] - p["share"]) * scale for p in some],
        "arrayminus": [(p["share"] - p["share_low"]) * scale for p in some],
        "color": _GREY,
    }


def _shapes(document: Json, scale: float) -> list[Json]:
    target = (_limiting(document)["share"] or 1.0) * scale
    line = {"color": _GREY, "dash": "dot"}
    across: Json = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": target, "y1": target}
    shapes: list[Json] = [{**across, "line": line}]
    low, high, at = document["low"], document["high"], document["capacity"]
    if low is not None and high is not None:
        shapes.append(upright(low, high, fillcolor=_BAND, line={"width": 0}))
    if at is not None:
        shapes.append(upright(at, line={"color": _DARK}))
    return shapes


def _table(document: Json) -> str:
    load = f"load ({document['unit']})"
    share = "share that meets" if _limiting(document)["share"] else "mean ÷ limit"
    head = (load, "requests", "seconds", share, "requests/s completed", "", "file")
    rows = [
        (
            short(p["load"]),
            str(p["requests"]),
            f"{p['seconds']:.0f}",
            "" if p["share"] is None else f"{p['share']:.4f}",
            short(p["throughput"], 3),
            _remark(p),
            p["file"],
        )
        for p in document["probes"]
    ]
    return f"<h2>Probes</h2>{html_table([head, *rows])}"


def _remark(probe: Json) -> str:
    if probe["problem"]:
        return f"not counted: {probe['problem']}"
    return "overloaded" if probe["overloaded"] else ""
