"""The HTML report: one file that stands alone (plotly's own script is in it). Only formats;
everything is escaped.

Also the timeline of requests (``--plot-timeline``) and the distributions of lengths
(``--plot-dataset-stats``).
"""

from __future__ import annotations

import html
import json
from typing import Any

from llmbench_locust.json_types import Json
from llmbench_locust.json_values import json_value
from llmbench_locust.metrics.extended import Figures
from llmbench_locust.metrics.overload import overload_line
from llmbench_locust.metrics.validity import validity_lines
from llmbench_locust.options.command import command_of
from llmbench_locust.results import charts
from llmbench_locust.results.headline import headline, tiles

#: The toolbar has these buttons and no other: plotly's own default set can upload the data.
_TOOLBAR = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
}
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1100px;
padding:1rem;background:Canvas;color:CanvasText}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.bad{background:#b00020;color:#fff;padding:.6rem 1rem;border-radius:.3rem;font-weight:600}
.good{background:#1b6e3c;color:#fff;padding:.6rem 1rem;border-radius:.3rem}
.chart{width:100%;min-height:360px;background:#fff;border-radius:.3rem;margin:.5rem 0}
.tiles{display:grid;
grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6rem;margin:1rem 0}
.tile{border:1px solid #8886;border-radius:.3rem;padding:.5rem .8rem;font-size:.85rem}
.tile b{display:block;font-size:1.25rem}
summary{font-weight:600;cursor:pointer;margin:1rem 0 .3rem}
pre{white-space:pre-wrap;
overflow-wrap:anywhere;border:1px solid #8886;border-radius:.3rem;padding:.6rem}
@media print{details{display:none}.chart{break-inside:avoid}}
.wide{overflow-x:auto}td{overflow-wrap:anywhere}
"""


def report_html(figures: Figures, document: Json) -> str:
    """The whole report. ``document``: of `build_document`."""
    facts, summary, block = figures.facts, figures.summary, figures.block
    columns, origin_s, goodput = facts.columns, facts.origin_s, facts.config.goodput
    shown = [
        ("Load over time", charts.load_over_time(columns, origin_s)),
        ("Latency over time", charts.latency_over_time(columns, summary, origin_s, goodput)),
        ("Server over time", charts.server_over_time(facts.server, origin_s, facts.duration_s)),
        ("Distributions", charts.distributions(summary, goodput)),
        ("Timeline of requests", _timeline(figures)),
    ]
    title = f"{document.get('model_id')} on {document.get('backend')}"
    cards = "".join(
        f'<div class="tile"><b>{_e(value)}</b>{_e(name)}</div>' for name, value in tiles(figures)
    )
    more = {
        k: v
        for k, v in block.items()
        if k
        not in (
            "audit",
            "environment",
            "errors",
            "workers",
            "by_label",
            "by_turn",
            "by_context_length",
        )
    }
    return page(
        f"llmbench: {title}",
        f"<h1>{_e(headline(figures))}</h1>"
        f"<p>{_e(title)}, {facts.started_at:%Y-%m-%d %H:%M:%S}, {facts.duration_s:.1f} s</p>"
        + _validity(block)
        + _verdict(block)
        + ('<p class="bad">The run was interrupted.</p>' if block.get("interrupted") else "")
        + _overload(block)
        + f'<div class="tiles">{cards}</div>'
        + _errors(block)
        + charts_html([(name, figure) for name, figure in shown if figure is not None])
        + f"<h2>Repeat it</h2><pre>{_e(command_of(facts.config))}</pre>"
        + _groups("By label", block.get("by_label") or {})
        + _groups("By turn", block.get("by_turn") or {})
        + _groups("By context length", block.get("by_context_length") or {})
        + _folded("Client audit", _table(_flat(block.get("audit") or {})))
        + _folded("Workers", _rows(block.get("workers") or []))
        + _folded("All keys of vllm bench serve", _summary(document))
        + _folded("All keys of llmbench", _table(_flat(more)))
        + _folded("Configuration", _table(_set(facts.config.redacted())))
        + _folded("Environment", _table(_flat(block.get("environment") or {}))),
    )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{_e(title)}</summary>{body}</details>" if body else ""


def _overload(block: Json) -> str:
    found = block.get("overload")
    return f'<p class="bad">{_e(overload_line(found))}</p>' if found else ""


def timeline_html(figures: Figures) -> str:
    """The timeline alone."""
    figure = _timeline(figures)
    return page(
        "Timeline of requests",
        charts_html([("Timeline of requests", figure)])
        if figure
        else "<p>No request was sent.</p>",
    )


def _timeline(figures: Figures) -> charts.Figure | None:
    facts = figures.facts
    limits_ms = facts.config.timeline_itl_thresholds
    return charts.timeline(facts.columns, figures.summary, facts.origin_s, limits_ms, facts.gone)


def dataset_stats_html(figures: Figures) -> str:
    """Distributions of input and output lengths."""
    shown = charts.lengths(figures.facts.columns, figures.summary)
    return page("Lengths of the dataset", charts_html(shown))


# --- the page


def page(title: str, body: str) -> str:
    """A whole page with plotly's script in it. ``body`` is HTML."""
    from plotly.offline import get_plotlyjs

    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        '<meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body>{body}</body></html>"
    )


def charts_html(figures: list[tuple[str, Json]], first: int = 0) -> str:
    """Each chart under its title, numbered from ``first``; the page must hold plotly's script."""
    return "".join(
        _chart(number, title, figure) for number, (title, figure) in enumerate(figures, first)
    )


def _chart(number: int, title: str, figure: Json) -> str:
    # "<" never stands in the script, so that no text in the data can end it.
    data = json.dumps(json_value(figure)).replace("<", "\\u003c")
    return (
        f'<h2>{_e(title)}</h2><div class="chart" id="chart{number}"></div>'
        f'<script>(f=>Plotly.newPlot("chart{number}",f.data,f.layout,'
        f"{json.dumps(_TOOLBAR)}))({data})</script>"
    )


def _validity(block: Json) -> str:
    found = block["validity"]
    colour = "good" if found["valid"] else "bad"
    return f'<p class="{colour}">{"<br>".join(map(_e, validity_lines(found)[::-1]))}</p>'


def _verdict(block: Json) -> str:
    audit = block.get("audit") or {}
    if not audit:
        return ""
    if audit.get("client_limited"):
        words = f"{'; '.join(audit.get('reasons', []))}. What to do: {audit.get('hint', '')}"
        return f'<p class="bad">The client was the limit: {_e(words)}</p>'
    return '<p class="good">The client was not the limit.</p>'


def _summary(document: Json) -> str:
    skipped = ("llmbench", "rps_change_events")
    rows = {
        k: v
        for k, v in document.items()
        if k not in skipped and v is not None and not isinstance(v, list | dict)
    }
    return _table(rows)


def _errors(block: Json) -> str:
    errors = block.get("errors") or {}
    if not errors:
        return ""
    rows = "".join(
        f'<tr><td>{_e(k)}</td><td class="n">{_e(v["count"])}</td><td>{_e(v["first"])}</td></tr>'
        for k, v in errors.items()
    )
    return f"<h2>Errors</h2><table><tr><th>kind</th><th>count</th><th>first</th></tr>{rows}</table>"


def _groups(title: str, groups: dict[str, Json]) -> str:
    rows = [{"group": name, **_flat(figures)} for name, figures in groups.items()]
    return f"<h2>{_e(title)}</h2>{_rows(rows)}" if groups else ""


def _rows(rows: list[Json]) -> str:
    """A table of rows with the same keys."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_e(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_e(_short(row.get(name, '')))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>' if rows else ""


def _table(rows: Json) -> str:
    cells = "".join(
        f"<tr><td>{_e(k)}</td>"
        f"<td{' class=n' if isinstance(v, int | float) else ''}>{_e(_short(v))}</td></tr>"
        for k, v in rows.items()
    )
    return f"<table>{cells}</table>"


def _flat(block: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _set(config: Json) -> Json:
    return {k: v for k, v in config.items() if v not in (None, False, "", (), {}, [])}


def _short(value: object) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _e(value: object) -> str:
    return html.escape(str(value))
