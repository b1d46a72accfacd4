"""`llmbench compare`: is B better than A? Verdicts that do not call noise a change."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError

if TYPE_CHECKING:
    from llmbench_locust.compare.engine import Comparison, Condition
    from llmbench_locust.compare.metrics import Metric
    from llmbench_locust.compare.reading import Run
    from llmbench_locust.compare.tables import Outcomes

    Shown = tuple[list[Comparison], float, Outcomes]

PASSED, FAILED, NOT_COMPARABLE = 0, 3, 4


def main(argv: list[str]) -> int:
    """0: passed; 3: a --fail-on condition failed; 4: not comparable. Raises ConfigError."""
    from llmbench_locust.compare.reading import in_our_format

    flags, base_paths, new_paths = _parsed(argv)
    with in_our_format([*base_paths, *new_paths]):
        return judge(flags, _cells(base_paths, new_paths))


def judge(flags: argparse.Namespace, cells: Iterable[tuple[str, list[Run], list[Run]]]) -> int:
    """Compare each cell (name, base, new), print, write files; returns the exit status."""
    from llmbench_locust.compare import engine, tables

    conditions, wanted = checked(flags)
    gated = [*dict.fromkeys(c.metric for c in conditions)]
    comparisons, outcomes = [], []
    for name, base, new in cells:
        metrics = [*dict.fromkeys([*(wanted or engine.default_metrics(base)), *gated])]
        comparisons.append(engine.compare(name, base, new, metrics, flags.equivalence / 100))
        # Chosen before the runs, so they need no correction for multiple comparisons.
        gate = engine.compare(name, base, new, gated, flags.equivalence / 100)
        outcomes += [(c, gate, _outcome(c, gate, flags.strict)) for c in conditions]
    shown = (comparisons, flags.equivalence / 100, outcomes)
    print(tables.console(*shown))
    _write(flags, shown)
    if any(found.void for found in comparisons) and not flags.force:
        print(
            "llmbench: not comparable, see the lines with !; --force compares them anyway",
            file=sys.stderr,
        )
        return NOT_COMPARABLE
    return FAILED if any(outcome == "failed" for _, _, outcome in outcomes) else PASSED


def checked(flags: argparse.Namespace) -> tuple[list[Condition], list[Metric]]:
    """--fail-on and --metrics. Raises ConfigError."""
    from llmbench_locust.compare.engine import parse_condition
    from llmbench_locust.compare.metrics import metric

    wanted = [metric(key.strip()) for key in (flags.metrics or "").split(",") if key.strip()]
    return [parse_condition(text) for text in flags.fail_on], wanted


def _outcome(condition: Condition, found: Comparison, strict: bool) -> str:
    row = found.row(condition.metric.key)
    if row.base is None or row.new is None:
        raise ConfigError(f"--fail-on: {condition.metric.key} is {row.needs}")
    return condition.outcome(row, strict)


def _parsed(argv: list[str]) -> tuple[argparse.Namespace, list[Path], list[Path]]:
    """Flags, and the paths of both sides: two of them, or several with -- in between."""
    parser = CommandParser(
        "llmbench compare",
        "Compare the result files of two sides: llmbench compare BASE NEW; several runs per side: "
        "llmbench compare BASE… -- NEW… [options], or two directories, cell by cell. Reads the "
        "files of llmbench and of vllm bench serve; one run per side needs --save-detailed.",
        epilog="Exit status: 0 passed, 2 bad input, 3 a --fail-on condition failed, 4 not "
        "comparable.",
    )
    parser.add_argument("paths", nargs="+", metavar="FILE", help="BASE… -- NEW…, or BASE NEW")
    add_arguments(parser)
    before, new = argv, None
    if "--" in argv:
        cut = argv.index("--")
        files = list(takewhile(lambda word: not word.startswith("--"), argv[cut + 1 :]))
        before, new = argv[:cut] + argv[cut + 1 + len(files) :], [Path(word) for word in files]
    flags = parser.parse_args(before)
    base = [Path(word) for word in flags.paths]
    if new is None:
        if len(base) != 2:
            raise ConfigError(
                f"compare: {len(base)} file{'s' * (len(base) != 1)} without --; give two, or put "
                "-- between the files of the base and those of the new side"
            )
        base, new = base[:1], base[1:]
    if not new:
        raise ConfigError("compare: no file follows --; the files of the new side are missing")
    return flags, base, new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to compare, and what to write."""
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="keys of the result, with commas: mean_ttft_ms,p99_itl_ms,output_throughput; fewer "
        "metrics have narrower intervals",
    )
    parser.add_argument(
        "--equivalence",
        type=_percent,
        default=2.0,
        metavar="PERCENT",
        help="a change within ± this counts as no change (default 2)",
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="CONDITION",
        help="p99_ttft_ms>+5%% or output_throughput<-3%%: fails when the interval lies wholly "
        "beyond the limit; may be repeated",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="a condition also fails unless the interval lies wholly inside the limit",
    )
    parser.add_argument("--force", action="store_true", help="compare what is not comparable")
    for flag, what in (
        ("--json", "write the verdicts as JSON"),
        ("--markdown", "write the table for a pull request; always to $GITHUB_STEP_SUMMARY"),
        ("--html", "write a page with distributions and timelines"),
    ):
        parser.add_argument(flag, type=Path, metavar="FILE", help=what)


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(
            f"{text} is not allowed; use a percentage above 0 and below 100"
        )
    return value


def _cells(base: list[Path], new: list[Path]) -> Iterator[tuple[str, list[Run], list[Run]]]:
    """Name and runs of both sides of each comparison. Two directories are matched cell by cell."""
    from llmbench_locust.compare.reading import read_cells, read_side

    if not (len(base) == len(new) == 1 and base[0].is_dir() and new[0].is_dir()):
        if folder := next((path for path in [*base, *new] if path.is_dir()), None):
            raise ConfigError(f"compare: {folder} is a directory; give files, or two directories")
        yield "", read_side(base), read_side(new)
        return
    first, second = read_cells(base[0]), read_cells(new[0])
    common = [name for name in first if name in second]
    if not common:
        raise ConfigError(
            f"compare: {base[0]} ({', '.join(first)}) and {new[0]} ({', '.join(second)}) have no "
            "cell in common"
        )
    for name in sorted({*first, *second} - {*common}):
        print(f"- {name}: only in {base[0] if name in first else new[0]}, not compared")
    for name in common:
        yield name, first[name], second[name]


def _write(flags: argparse.Namespace, shown: Shown) -> None:
    """The requested files, and the summary of a GitHub job."""
    from llmbench_locust.compare import tables
    from llmbench_locust.results.files import write_whole

    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if flags.json:
            write_whole(flags.json, json.dumps(tables.document(*shown), indent=1).encode())
        if flags.markdown:
            write_whole(flags.markdown, tables.markdown(*shown).encode())
        if summary:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(tables.markdown(*shown))
        if flags.html:
            from llmbench_locust.compare.html import comparison_html

            write_whole(flags.html, comparison_html(*shown).encode())
    except OSError as error:
        raise ConfigError(f"compare: {error.filename}: {error.strerror}") from None
