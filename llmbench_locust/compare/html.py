"""A comparison as one HTML page: the table, both distributions of each latency, both timelines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from llmbench_locust.compare.engine import Comparison
from llmbench_locust.compare.overlay import COLOURS, Side, overlay
from llmbench_locust.compare.tables import HEAD, Outcomes, cells, method, outcome_words
from llmbench_locust.results.html import charts_html, page
from llmbench_locust.results.tables import html_table


def comparison_html(
    comparisons: Sequence[Comparison], equivalence: float, outcomes: Outcomes
) -> str:
    """A self-contained page."""
    words = "".join(f"<li>{escape(w)}: <b>{o}</b></li>" for o, w in outcome_words(outcomes))
    body = f"<h1>Benchmark comparison</h1><ul>{words}</ul>"
    first = 0
    for comparison in comparisons:
        sides = (("base", comparison.base), ("new", comparison.new))
        figures = overlay(
            [Side(name, colour, runs) for (name, runs), colour in zip(sides, COLOURS, strict=False)]
        )
        body += f"<h2>{escape(comparison.name)}</h2>" if comparison.name else ""
        rows = [HEAD, *(cells(row, equivalence) for row in comparison.rows)]
        body += _notes(comparison) + html_table(rows)
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
