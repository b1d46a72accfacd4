"""Several runs in one table: as text, Markdown and HTML. Only formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmbench_locust.results.headline import NOTHING, failed_of, headline, milliseconds, number
from llmbench_locust.results.shown import Shown, attained, client_limited
from llmbench_locust.results.tables import html_table, markdown_row, text_table

Cell = Callable[[Shown], str]


def _key(name: str, form: str) -> Cell:
    return lambda run: number(run.document.get(name), form)


def _percentiles(name: str) -> Cell:
    def cell(run: Shown) -> str:
        values = [run.latency_ms(name, p) for p in (None, 50, 99)]
        return " / ".join(map(milliseconds, values)) if any(values) else NOTHING

    return cell


def _met(run: Shown) -> str:
    share = attained(run.document)
    return NOTHING if share is None else f"{share * 100:.1f}%"


def _requests(run: Shown) -> str:
    failed = failed_of(run)
    return f"{run.document.get('completed')}, {NOTHING if failed is None else failed} failed"


def _load(run: Shown) -> str:
    document = run.document
    rate = document.get("request_rate")
    words = [f"{rate} req/s" if isinstance(rate, int | float) else f"rate {rate or 'unknown'}"]
    if document.get("ramp_up_strategy"):
        begin, end = (document.get(f"ramp_up_{name}_rps") for name in ("start", "end"))
        words = [f"{document['ramp_up_strategy']} ramp from {begin} to {end} req/s"]
    if document.get("max_concurrency") is not None:
        words.append(f"at most {document['max_concurrency']} in flight")
    return ", ".join(words)


def _client(run: Shown) -> str:
    if not run.block.get("audit"):
        return "unknown"
    return "WAS THE LIMIT" if client_limited(run.document) else "not the limit"


def _valid(run: Shown) -> str:
    found = run.block.get("validity")
    if not found:
        return "unknown"
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
    """File names without the common part of their paths."""
    short = [Path(run.name).name for run in runs]
    return short if len({*short}) == len(short) else [run.name for run in runs]


def _cells(runs: Sequence[Shown]) -> list[list[str]]:
    """The names of the runs, and the rows that are not empty."""
    rows = [[title, *(cell(run) for run in runs)] for title, cell in ROWS]
    return [["", *names(runs)], *(row for row in rows if {*row[1:]} != {NOTHING})]


def text(runs: Sequence[Shown]) -> str:
    return text_table(_cells(runs))


def markdown(runs: Sequence[Shown]) -> str:
    """For a pull request, an issue or a wiki."""
    lines = [f"**{headline(runs[0])}**", ""] if len(runs) == 1 else []
    head, *rows = map(markdown_row, _cells(runs))
    lines += [head, markdown_row(["---"] * (len(runs) + 1)), *rows]
    return "\n".join(lines) + "\n"


def table(runs: Sequence[Shown]) -> str:
    return html_table(_cells(runs))
