"""A comparison as one HTML page: the table, both distributions of each latency, both timelines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from llmbench_locust.compare.engine import Comparison
from llmbench_locust.compare.reading import LATENCIES, Run
from llmbench_locust.compare.tables import HEAD, Outcomes, cells, method, outcome_words
from llmbench_locust.results.charts import Figure, layout
from llmbench_locust.results.html import charts_html, page
from llmbench_locust.statistics.blocks import Floats

MOST_POINTS = 2000
_COLOURS = {"base": "#4c78a8", "new": "#e45756"}


def comparison_html(
    comparisons: Sequence[Comparison], equivalence: float, outcomes: Outcomes
) -> str:
    """The page; it stands alone."""
    words = "".join(f"<li>{escape(w)}: <b>{o}</b></li>" for o, w in outcome_words(outcomes))
    body = f"<h1>Benchmark comparison</h1><ul>{words}</ul>"
    first = 0
    for comparison in comparisons:
        figures = _figures(comparison)
        body += f"<h2>{escape(comparison.name)}</h2>" if comparison.name else ""
        body += _notes(comparison) + _table(comparison, equivalence)
        body += f"<p>{escape(' '.join(method(comparison, equivalence)))}</p>"
        body += charts_html(figures, first)
        first += len(figures)
    return page("llmbench compare", body)


def _notes(comparison: Comparison) -> str:
    rows = "".join(
        f"<li{' class=bad' if note.void else ''}>{escape(note.text)}</li>"
        for note in comparison.notes
    )
    files = "".join(
        f"<p>{side}: {escape(', '.join(run.name for run in runs))}</p>"
        for side, runs in (("base", comparison.base), ("new", comparison.new))
    )
    return f"{files}<ul>{rows}</ul>"


def _table(comparison: Comparison, equivalence: float) -> str:
    head = "".join(f"<th>{word}</th>" for word in HEAD)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row, equivalence)) + "</tr>"
        for row in comparison.rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _figures(comparison: Comparison) -> list[tuple[str, Figure]]:
    sides = (("base", comparison.base), ("new", comparison.new))
    found: list[tuple[str, Figure]] = []
    for name in LATENCIES:
        traces = [t for side, runs in sides for t in _ecdf(side, runs, name)]
        if traces:
            title = f"{name.upper()}: share of values at or below"
            found.append((title, {"data": traces, "layout": layout("ms", "share", logx=True)}))
    timelines = (
        ("TTFT over time", "ms", _ttft_over_time),
        ("Output tokens per second over time", "tok/s", _tokens_over_time),
    )
    for title, unit, draw in timelines:
        traces = [t for side, runs in sides for run in runs for t in draw(side, run)]
        if traces:
            found.append((title, {"data": traces, "layout": layout("seconds", unit)}))
    return found


def _ecdf(side: str, runs: Sequence[Run], name: str) -> list[Figure]:
    samples = [
        run.requests.samples[name].values
        for run in runs
        if run.requests and name in run.requests.samples
    ]
    if not samples:
        return []
    values = np.sort(np.concatenate(samples)) * 1000
    shares = np.arange(1, len(values) + 1) / len(values)
    # Evenly spread, and the last hundredth whole as far as it goes: that is what one looks at.
    rows = np.unique(
        np.concatenate(
            [
                np.linspace(0, len(values) - 1, MOST_POINTS).astype(int),
                np.arange(max(0, len(values) - MOST_POINTS), len(values))[-len(values) // 100 :],
            ]
        )
    )
    return [_trace(side, side, values[rows], shares[rows], mode="lines")]


def _ttft_over_time(side: str, run: Run) -> list[Figure]:
    found = run.requests
    if found is None or found.start is None or "ttft" not in found.samples:
        return []
    start = found.start[found.ok]
    step = max(1, len(start) // MOST_POINTS)
    x, y = start - start.min(), found.samples["ttft"].values * 1000
    return [_trace(side, f"{side}: {run.name}", x[::step], y[::step], mode="markers")]


def _tokens_over_time(side: str, run: Run) -> list[Figure]:
    found = run.requests
    if found is None or found.start is None or found.end is None or found.output is None:
        return []
    ends = found.end[found.ok] - found.start[found.ok].min()
    counts, edges = np.histogram(ends, 60, (0.0, float(ends.max())), weights=found.output[found.ok])
    rate = counts / (edges[1] - edges[0])
    return [_trace(side, f"{side}: {run.name}", edges[1:], rate, mode="lines")]


def _trace(side: str, name: str, x: Floats, y: Floats, mode: str) -> Figure:
    colour: Figure = (
        {"color": _COLOURS[side], "size": 4} if mode == "markers" else {"color": _COLOURS[side]}
    )
    return {
        "type": "scattergl",
        "mode": mode,
        "name": escape(name),
        "x": x.tolist(),
        "y": y.tolist(),
        "opacity": 0.7,
        "marker" if mode == "markers" else "line": colour,
    }
