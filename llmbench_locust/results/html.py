"""The HTML report: one self-contained file with plotly's script. Only formats; everything is
escaped.

Also the timeline of requests (``--plot-timeline``) and the distributions of lengths
(``--plot-dataset-stats``).
"""

from __future__ import annotations

import html
import json
from datetime import datetime
from pathlib import Path

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.json_values import json_value
from llmbench_locust.metrics.facts import Figures
from llmbench_locust.metrics.overload import overload_line
from llmbench_locust.metrics.validity import validity_lines
from llmbench_locust.results import charts
from llmbench_locust.results.headline import NOTHING, headline, milliseconds, number, tiles
from llmbench_locust.results.shown import Drawn, Shown
from llmbench_locust.results.tables import html_table, short
from llmbench_locust.results.timeline import timeline

#: The only buttons of the toolbar: plotly's default set has one that uploads the data.
_TOOLBAR = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
}
_STYLE = Path(__file__).with_name("report.css")


def report_html(run: Shown) -> str:
    title = f"{run.document.get('model_id') or 'a model'} on {run.document.get('backend')}"
    duration_s = number(run.document.get("duration"), ".1f")
    return page(
        f"llmbench: {title}",
        f"<h1>{_e(headline(run))}</h1>"
        f"<p>{_e(title)}, {_e(_when(run.document.get('date')))}{duration_s} s</p>"
        + _verdict(run)
        + _tiles(run)
        + _errors(run.block)
        + charts_html(figures_of(run))
        + _latencies(run)
        + _tables(run),
    )


def _when(date: object) -> str:
    """A result's date in readable form; unchanged if it has an unknown form."""
    text = str(date or "")
    try:
        return f"{datetime.strptime(text, '%Y%m%d-%H%M%S'):%Y-%m-%d %H:%M:%S}, "
    except ValueError:
        return f"{text}, " if text else ""


def figures_of(run: Shown) -> list[tuple[str, charts.Figure]]:
    """The charts of one run for which its file has the data."""
    drawn = run.drawn
    if drawn is None:
        return []
    columns, origin_s, gone = drawn.columns, drawn.origin_s, drawn.gone
    objectives_ms, span = drawn.objectives_ms, (origin_s, drawn.duration_s)
    latency = columns, drawn.latencies, origin_s, gone, objectives_ms
    of_server = drawn.server, charts.SERVER_LINES, ("requests on the server", "KV cache %"), span
    of_gpus = drawn.gpus, charts.GPU_LINES, ("W", "utilization %"), span
    shown = [
        ("Load over time", charts.load_over_time(columns, origin_s, gone)),
        ("Latency over time", charts.latency_over_time(*latency)),
        ("Server over time", charts.pages_over_time(*of_server)),
        ("GPUs over time", charts.pages_over_time(*of_gpus)),
        ("Distributions", charts.distributions(drawn.latencies, objectives_ms)),
        ("Timeline of requests", _timeline(drawn)),
    ]
    return [(name, figure) for name, figure in shown if figure is not None]


def _tiles(run: Shown) -> str:
    cards = "".join(
        f'<div class="tile"><b>{_e(value)}</b>{_e(name)}</div>' for name, value in tiles(run)
    )
    return f'<div class="tiles">{cards}</div>'


def _latencies(run: Shown) -> str:
    rows = [
        (
            f"{name.upper()} (ms)",
            *(milliseconds(run.latency_ms(name, p)) for p in (None, 50, 90, 99)),
        )
        for name in ("ttft", "tpot", "itl", "e2el")
        if run.latency_ms(name, None) is not None
    ]
    head = ("", "Mean", "P50", "P90", "P99")
    return f"<h2>Latencies</h2>{html_table([head, *rows])}" if rows else ""


_GROUPS = {"by_label": "By label", "by_turn": "By turn", "by_context_length": "By context length"}


def _tables(run: Shown) -> str:
    block = run.block
    own = ("audit", "environment", "errors", "workers", "command")
    more = {k: v for k, v in block.items() if k not in own and k not in _GROUPS}
    command = block.get("command")
    return (
        (f"<h2>Repeat this run</h2><pre>{_e(command)}</pre>" if command else "")
        + "".join(_groups(title, block.get(key) or {}) for key, title in _GROUPS.items())
        + _folded("Client audit", _table(_flat(block.get("audit") or {})))
        + _folded("Workers", _rows(block.get("workers") or []))
        + _folded("All keys of vllm bench serve", keys_table(run.document))
        + (_folded("All keys of llmbench", _table(_flat(more))) if more else "")
        + _folded("Environment", _table(_flat(block.get("environment") or {})))
    )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{_e(title)}</summary>{body}</details>" if body else ""


def timeline_html(figures: Figures) -> str:
    figure = _timeline(Drawn.of(figures))
    return page(
        "Timeline of requests",
        charts_html([("Timeline of requests", figure)])
        if figure
        else "<p>No request was sent.</p>",
    )


def _timeline(drawn: Drawn) -> charts.Figure | None:
    lens, limits_ms = drawn.output_lens, drawn.thresholds_ms
    return timeline(drawn.columns, lens, drawn.origin_s, limits_ms, drawn.gone)


def dataset_stats_html(figures: Figures) -> str:
    shown = charts.lengths(figures.facts.columns, figures.summary.output_lens)
    return page("Lengths of the dataset", charts_html(shown))


# --- the page


def page(title: str, body: str) -> str:
    """A complete page with plotly's script. ``body`` is HTML."""
    from plotly.offline import get_plotlyjs

    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title>'
        '<link rel="icon" href="data:,">'
        '<meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><style>{_STYLE.read_text()}</style>'
        f"<script>{get_plotlyjs()}</script></head><body>{body}</body></html>"
    )


def charts_html(figures: list[tuple[str, Json]], first: int = 0) -> str:
    """Each chart under its title, numbered from ``first``; the page must hold plotly's script."""
    return "".join(
        _chart(number, title, figure) for number, (title, figure) in enumerate(figures, first)
    )


def _chart(number: int, title: str, figure: Json) -> str:
    # "<" is escaped, so that no text in the data can end the script.
    data = json.dumps(json_value(figure)).replace("<", "\\u003c")
    return (
        f'<h2>{_e(title)}</h2><div class="chart" id="chart{number}"></div>'
        f'<script>(f=>Plotly.newPlot("chart{number}",f.data,f.layout,'
        f"{json.dumps(_TOOLBAR)}))({data})</script>"
    )


def _verdict(run: Shown) -> str:
    """Coloured lines on whether the figures can be trusted, problems first."""
    block, audit = run.block, run.block.get("audit") or {}
    lines: list[tuple[str, str]] = []
    if block.get("validity"):
        words = "<br>".join(map(_e, validity_lines(block["validity"])[::-1]))
        lines.append(("good" if block["validity"]["valid"] else "bad", words))
    if audit and not audit["client_limited"]:
        lines.append(("good", "The client was not the limit."))
    if block.get("interrupted"):
        lines.append(("bad", "The run was interrupted."))
    if block.get("overload"):
        lines.append(("bad", _e(overload_line(block["overload"]))))
    if run.tool != "llmbench":
        lines.append(("unknown", f"Written by {_e(run.tool)}. {_e(missing_data(run))}"))
    lines.sort(key=lambda line: line[0] != "bad")
    return "".join(f'<p class="{colour}">{words}</p>' for colour, words in lines)


def verdict_and_tables(run: Shown) -> str:
    """One run among several: headline, verdict, command and keys."""
    return f"<p>{_e(headline(run))}</p>{_verdict(run)}{_errors(run.block)}{_tables(run)}"


def missing_data(run: Shown) -> str:
    """What a file of another tool does not contain."""
    missing = run.missing or "whether the client was the limit"
    arrays = "" if run.drawn or run.missing else "; single requests (--save-detailed has them)"
    return f"Not in its file: {missing}{arrays}."


def keys_table(document: Json) -> str:
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
    rows = [(kind, str(error["count"]), str(error["first"])) for kind, error in errors.items()]
    return f"<h2>Errors</h2>{html_table([('kind', 'count', 'first'), *rows])}"


def _groups(title: str, groups: dict[str, Json]) -> str:
    rows = [{"group": name, **_flat(figures)} for name, figures in groups.items()]
    return f"<h2>{_e(title)}</h2>{_rows(rows)}" if groups else ""


def _rows(rows: list[Json]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[str(_short(row.get(name, ""))) for name in names] for row in rows]
    return html_table([names, *cells]) if rows else ""


def _table(rows: Json) -> str:
    cells = "".join(
        f"<tr><td>{_e(k)}</td>"
        f"<td{' class=n' if isinstance(v, int | float) else ''}>{_e(_short(v))}</td></tr>"
        for k, v in rows.items()
    )
    return f"<table>{cells}</table>" if cells else ""


def _flat(block: Json, prefix: str = "") -> Json:
    """``block`` in one level, without lists of objects: the result file has them."""
    flat: Json = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
            flat[f"{prefix}{key}"] = value
    return flat


def _short(value: object) -> JsonValue:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(str(_short(one)) for one in value)
    if isinstance(value, float):
        return short(value)
    return value


def _e(value: object) -> str:
    return html.escape(str(value))
