"""Several runs in one table: as text, Markdown and HTML. Only formats."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from llmbench_locust.results.headline import NOTHING, headline, milliseconds, number
from llmbench_locust.results.shown import Shown

Cell = Callable[[Shown], str]


def _key(name: str, form: str) -> Cell:
    return lambda run: number(run.document.get(name), form)


def _percentiles(name: str) -> Cell:
    """Mean / median / P99."""

    def cell(run: Shown) -> str:
        values = [run.latency_ms(name, p) for p in (None, 50, 99)]
        return " / ".join(map(milliseconds, values)) if any(values) else NOTHING

    return cell


def _met(run: Shown) -> str:
    share = (run.block.get("slo_attainment") or {}).get("all")
    return NOTHING if share is None else f"{share * 100:.1f}%"


def _requests(run: Shown) -> str:
    failed = run.document.get("failed")
    return f"{run.document.get('completed')}, {NOTHING if failed is None else failed} failed"


def _load(run: Shown) -> str:
    document = run.document
    rate = document.get("request_rate")
    words = [f"{rate} req/s" if isinstance(rate, int | float) else f"rate {rate or 'not told'}"]
    if document.get("max_concurrency") is not None:
        words.append(f"at most {document['max_concurrency']} in flight")
    return ", ".join(words)


def _client(run: Shown) -> str:
    audit = run.block.get("audit")
    if not audit:
        return "not told"
    return "WAS THE LIMIT" if audit.get("client_limited") else "not the limit"


def _valid(run: Shown) -> str:
    found = run.block.get("validity")
    if not found:
        return "not told"
    return "valid" if found["valid"] else ", ".join(r["reason"] for r in found["reasons"])


#: A row of the table: its title and what it shows of a run.
ROWS: tuple[tuple[str, Cell], ...] = (
    ("Tool", lambda run: run.tool),
    ("Model", lambda run: str(run.document.get("model_id") or NOTHING)),
    ("Load", _load),
    ("Requests", _requests),
    ("Duration (s)", _key("duration", ".1f")),
    ("Requests/s", _key("request_throughput", ".2f")),
    ("Goodput (req/s)", _key("request_goodput", ".2f")),
    ("Objectives met", _met),
    ("Output tokens/s", _key("output_throughput", ",.1f")),
    ("Total tokens/s", _key("total_token_throughput", ",.1f")),
    ("TTFT mean / P50 / P99 (ms)", _percentiles("ttft")),
    ("TPOT mean / P50 / P99 (ms)", _percentiles("tpot")),
    ("ITL mean / P50 / P99 (ms)", _percentiles("itl")),
    ("E2EL mean / P50 / P99 (ms)", _percentiles("e2el")),
    ("Client", _client),
    ("Result", _valid),
)


def names(runs: Sequence[Shown]) -> list[str]:
    """File names without what all paths have in common."""
    short = [Path(run.name).name for run in runs]
    return short if len({*short}) == len(short) else [run.name for run in runs]


def _cells(runs: Sequence[Shown]) -> list[list[str]]:
    """Rows that have something to tell."""
    rows = [[title, *(cell(run) for run in runs)] for title, cell in ROWS]
    return [row for row in rows if {*row[1:]} != {NOTHING}]


def text(runs: Sequence[Shown]) -> str:
    """For a terminal."""
    rows = [["", *names(runs)], *_cells(runs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def markdown(runs: Sequence[Shown]) -> str:
    """For a pull request, an issue or a wiki."""
    lines = [f"**{headline(runs[0])}**", ""] if len(runs) == 1 else []
    head, *rows = [["", *names(runs)], *_cells(runs)]
    lines += [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    safe = (cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(safe)} |"


def table(runs: Sequence[Shown]) -> str:
    """As HTML."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *names(runs)))
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for row in _cells(runs)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'
