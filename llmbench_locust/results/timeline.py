"""The timeline of requests: one row each, with waiting, first token and gaps in colours."""

from __future__ import annotations

import html

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.latencies import Floats, Ints
from llmbench_locust.records import CANCELLED, RecordColumns
from llmbench_locust.results.charts import Figure, layout, trace

#: Number of rows, and of pieces in all rows, that a browser draws quickly.
MOST_ROWS = 1000
MOST_PIECES = 100_000


class _Pieces:
    """Horizontal lines in one colour: x and y with a gap between two lines."""

    def __init__(self, colour: str, *, text: bool = False) -> None:
        self.colour = colour
        self.x: list[float | None] = []
        self.y: list[int | None] = []
        self.text: list[str | None] | None = [] if text else None

    def draw(self, begin_s: float, end_s: float, y: int, text: str = "") -> None:
        self.x += [begin_s, end_s, None]
        self.y += [y, y, None]
        if self.text is not None:
            self.text += [text, text, None]

    def trace(self, name: str) -> Figure:
        line = {"color": self.colour, "width": 4}
        found = trace("scattergl", name, self.x, self.y, mode="lines", line=line)
        if self.text is not None:
            found |= {"text": self.text, "hovertemplate": "%{text}<extra></extra>"}
        return found


def timeline(
    columns: RecordColumns,
    output_lens: Ints | None,
    origin_s: float,
    thresholds_ms: tuple[float, ...],
    folded: NDArray[np.bool_] | None = None,
) -> Figure | None:
    """A row for each request: waiting, time to the first token, then each gap, coloured by its
    length.

    ``folded``: rows whose gaps were not kept. Draws at most `MOST_ROWS` rows and about
    `MOST_PIECES` pieces.
    """
    start, end = columns.floats["start_time"] - origin_s, columns.floats["end_time"] - origin_s
    rows = np.flatnonzero(~np.isnan(start))
    if not len(rows):
        return None
    low, high = thresholds_ms[0], thresholds_ms[1]
    parts = {
        "waiting": _Pieces("#b0b7c3"),
        "TTFT": _Pieces("#4c78a8", text=True),
        f"ITL < {low:g} ms": _Pieces("#54a24b"),
        f"{low:g} ms ≤ ITL < {high:g} ms": _Pieces("#eeca3b"),
        f"ITL ≥ {high:g} ms": _Pieces("#e45756"),
        "gaps not kept": _Pieces("#9ecae9"),
        "failed": _Pieces("#7f0000", text=True),
    }
    kinds = list(parts.values())[2:5]
    pieces = drawn = 0
    for y, row in enumerate(rows[:MOST_ROWS].tolist()):
        if pieces > MOST_PIECES:
            break
        drawn += 1
        begin, about = float(start[row]), _about(columns, output_lens, row)
        due = float(columns.floats["due_time"][row]) - origin_s
        if begin - due > 1e-3:
            parts["waiting"].draw(due, begin, y)
        events = slice(*columns.token_offsets[row : row + 2])
        times = columns.token_times[events] - origin_s
        ok = bool(columns.success[row])
        first = float(times[0] if ok and len(times) else end[row])
        parts["TTFT" if ok else "failed"].draw(begin, first, y, about)
        if ok and len(times) and folded is not None and folded[row]:
            parts["gaps not kept"].draw(first, float(times[-1]), y)
        elif ok:
            pieces += _draw_gaps(times, (low, high), kinds, y)
    title = "request" if drawn == len(rows) else f"request (the first {drawn} of {len(rows)})"
    shape = layout("seconds", title, height=max(360, min(1200, 8 * drawn)))
    shape["yaxis"] = _rows_axis(title, drawn)
    return {"data": [p.trace(name) for name, p in parts.items() if p.x], "layout": shape}


def _rows_axis(title: str, drawn: int) -> Figure:
    whole = {"dtick": 1} if drawn < 10 else {}  # no half requests
    return {"title": {"text": title}, "range": [drawn - 0.5, -0.5], **whole}


def _about(columns: RecordColumns, output_lens: Ints | None, row: int) -> str:
    output = (columns.ints["output_len"] if output_lens is None else output_lens)[row]
    words = (
        f"{columns.texts['request_id'][row]}: {columns.ints['prompt_len'][row]} tokens in, "
        f"{output} out"
    )
    if not columns.success[row]:
        kind = columns.texts["error_kind"][row]
        words += f", {kind}" if kind == CANCELLED else f", failed ({kind})"
    return html.escape(words)


def _draw_gaps(times: Floats, limits_ms: tuple[float, float], kinds: list[_Pieces], y: int) -> int:
    """Draws neighbouring gaps of one colour as one line; returns the number of lines."""
    which = np.searchsorted(np.array(limits_ms), np.diff(times) * 1000, side="right")
    if not len(which):
        return 0
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(which)) + 1, [len(which)]])
    for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        kinds[which[a]].draw(float(times[a]), float(times[b]), y)
    return len(cuts) - 1
