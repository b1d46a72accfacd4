"""A comparison as text, Markdown and JSON. Only formats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmbench_locust.compare.engine import CANNOT_TELL, MOST_TIMES, Comparison, Condition, Row
from llmbench_locust.results.tables import markdown_row, markdown_text, text_table

HEAD = ("metric", "base", "new", "change", "interval", "verdict")
_MARKS = {"better": "🟢", "worse": "🔴", "no change": "⚪", CANNOT_TELL: "❔"}
_OUTCOME_MARKS = {"passed": "✅", "failed": "❌", "undecided": "❔"}

Outcomes = Sequence[tuple[Condition, Comparison, str]]


def console(comparisons: Sequence[Comparison], equivalence: float, outcomes: Outcomes) -> str:
    lines: list[str] = []
    for comparison in comparisons:
        lines += _title(comparison)
        lines += [f"! {note.text}" for note in comparison.notes if note.void]
        lines += [f"- {note.text}" for note in comparison.notes if not note.void]
        rows = [HEAD, *(cells(row, equivalence) for row in comparison.rows)]
        lines += [text_table(rows), "", *method(comparison, equivalence), ""]
    lines += [f"--fail-on {words}: {outcome}" for outcome, words in outcome_words(outcomes)]
    return "\n".join(lines).rstrip()


def markdown(comparisons: Sequence[Comparison], equivalence: float, outcomes: Outcomes) -> str:
    """For a pull request comment, or a job summary."""
    lines = ["## Benchmark comparison", ""]
    lines += [
        f"- {_OUTCOME_MARKS[outcome]} **{outcome}**: {markdown_text(words)}"
        for outcome, words in outcome_words(outcomes)
    ]
    for comparison in comparisons:
        if comparison.name:
            lines += ["", f"### {markdown_text(comparison.name)}"]
        lines += [""] + [
            f"{'- **Void:** ' if note.void else '- '}{markdown_text(note.text)}"
            for note in comparison.notes
        ]
        lines += ["", markdown_row(HEAD), "| --- | ---: | ---: | ---: | :---: | --- |"]
        for row in comparison.rows:
            *figures, words = cells(row, equivalence)
            words = f"{_MARKS[row.verdict]} **{row.verdict}**{words.removeprefix(row.verdict)}"
            lines.append(markdown_row([*figures, words]))
        lines += ["", "<sub>" + " ".join(method(comparison, equivalence)) + "</sub>"]
    return "\n".join(lines) + "\n"


def document(
    comparisons: Sequence[Comparison], equivalence: float, outcomes: Outcomes
) -> dict[str, object]:
    """For `--json`. Changes and intervals are shares (0.05 for +5%); unknown bounds are null."""
    return {
        "equivalence": equivalence,
        "comparisons": [
            {
                "name": comparison.name,
                "base": [run.name for run in comparison.base],
                "new": [run.name for run in comparison.new],
                "comparable": not comparison.void,
                "notes": [{"text": n.text, "void": n.void} for n in comparison.notes],
                "metrics": {row.metric.key: _row(row) for row in comparison.rows},
            }
            for comparison in comparisons
        ],
        "conditions": [
            {"condition": condition.text, "comparison": comparison.name, "outcome": outcome}
            for condition, comparison, outcome in outcomes
        ],
    }


def _row(row: Row) -> dict[str, object]:
    return {
        "base": row.base,
        "new": row.new,
        "change": None if row.base is None or row.new is None else row.new / row.base - 1,
        "interval": [_share(end) for end in row.interval],
        "level": row.level,
        "verdict": row.verdict,
        "needs": row.needs or None,
        "paired": row.paired,
    }


def _share(logarithm: float) -> float | None:
    return math.expm1(logarithm) if abs(logarithm) < 50 else None


def _title(comparison: Comparison) -> list[str]:
    return [f"== {comparison.name}"] if comparison.name else []


def cells(row: Row, equivalence: float) -> tuple[str, ...]:
    change = "" if row.base is None or row.new is None else _percent(row.new / row.base - 1)
    low, high = map(_share, row.interval)
    if low is None and high is None:
        interval = "unknown"
    else:
        least = "unknown" if low is None else "under -90%" if low < -0.9 else _percent(low)
        most = "unknown" if high is None else "over +900%" if high > 9 else _percent(high)
        interval = f"{least} to {most}"
    verdict = row.verdict
    if row.needs:
        verdict += f" ({row.needs})"
    elif verdict == "no change":
        verdict += f" (within ±{equivalence * 100:g}%)"
    return row.metric.title, _value(row.base), _value(row.new), change, interval, verdict


def _value(value: float | None) -> str:
    return "none" if value is None else f"{value:.{max(0, 3 - math.floor(math.log10(value)))}f}"


def _percent(share: float) -> str:
    return f"{share:+.1%}" if abs(share) < 1 else f"{share:+.0%}"


def method(comparison: Comparison, equivalence: float) -> list[str]:
    """How the intervals were computed, and what they do not cover."""
    base, new, rows = len(comparison.base), len(comparison.new), comparison.rows
    count = round(0.05 / (1 - max(row.level for row in rows)))
    lines = (
        [f"Intervals of 95%, corrected for {count} metrics together (Holm)."] if count > 1 else []
    )
    paired = any(row.paired for row in rows)
    if base == new == 1:
        lines.append("One run per side: the intervals do not cover differences between runs.")
    else:
        lines.append(f"Runs: {base} and {new}. The intervals come from the spread of the runs.")
    if paired:
        what = "Requests" if base == new == 1 else "Runs"
        lines.append(f"{what} are paired: both sides had the same workload.")
    if any("about" in row.needs for row in rows):
        lines.append(
            f"The size in brackets shows a change of {equivalence * 100:g}% in 4 of 5 comparisons."
        )
    if any("over" in row.needs for row in rows):
        pair = "" if paired else "the same --seed on both sides, "
        lines.append(
            f"Where the size is over {MOST_TIMES}, this helps: {pair}a lower percentile "
            "(median_ttft_ms, p10_ttft_ms), a lower load, a larger --equivalence."
        )
    return lines


def outcome_words(outcomes: Outcomes) -> list[tuple[str, str]]:
    found = []
    for condition, comparison, outcome in outcomes:
        low, high = map(_share, comparison.row(condition.metric.key).interval)
        ends = " to ".join("unknown" if end is None else _percent(end) for end in (low, high))
        where = f" in {comparison.name}" if comparison.name else ""
        found.append((outcome, f"{condition.text}: the change{where} is {ends}"))
    return found
