"""`llmbench report`: result files → one page, or a table."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError
from llmbench_locust.terminal import say

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from llmbench_locust.compare.reading import Run


def main(argv: list[str]) -> int:
    """Print the table and write what was asked for. Raises ConfigError."""
    parser = CommandParser(
        "llmbench report",
        "Show result files: one as a report, several side by side. Reads the files of llmbench, "
        "vllm bench serve (both clients), SGLang's bench_serving, GuideLLM (JSON) and AIPerf "
        "(profile_export_aiperf.json). Charts need the requests: --save-detailed.",
        epilog="llmbench compare says whether one side is better than another.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write an HTML page")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table; - prints it"
    )
    flags = parser.parse_args(argv)
    paths: list[Path] = flags.paths
    if any(path.suffix == ".journal" for path in paths):
        import locust  # noqa: F401  before anything has used ssl, which it patches

        from llmbench_locust.run.from_journal import result_of

        paths = [result_of(path) if path.suffix == ".journal" else path for path in paths]
    from llmbench_locust.compare.reading import in_our_format, read_side

    with in_our_format(paths):
        return _report(flags, read_side(paths))


def _report(flags: Namespace, runs: Sequence[Run]) -> int:
    from llmbench_locust.compare.drawing import shown_of
    from llmbench_locust.results import side_by_side
    from llmbench_locust.results.files import write_whole

    if any("capacity" in run.document for run in runs):
        raise ConfigError("report: a capacity search has a report.html of its own in its directory")
    shown = [shown_of(run) for run in runs]
    to_stdout = flags.markdown == Path("-")
    table = side_by_side.markdown(shown)
    say(table.rstrip() if to_stdout else side_by_side.text(shown))
    wanted = [(flags.markdown, table)] if flags.markdown and not to_stdout else []
    if flags.output:
        wanted.append((flags.output, _page(runs)))
    for path, made in wanted:
        try:
            write_whole(path, made.encode("utf-8", "replace"))  # a lone surrogate
        except OSError as error:
            raise ConfigError(f"report: {path}: {error.strerror}") from None
        say(f"Wrote {path}")
    return 0


def _page(runs: Sequence[Run]) -> str:
    from llmbench_locust.compare.drawing import shown_of
    from llmbench_locust.compare.overlay import COLOURS, Side, overlay
    from llmbench_locust.results import html, side_by_side

    shown = [shown_of(run) for run in runs]
    if len(shown) == 1:
        return html.report_html(shown[0])
    names = side_by_side.names(shown)
    sides = [
        Side(name, COLOURS[i % len(COLOURS)], [run], again=i >= len(COLOURS))
        for i, (name, run) in enumerate(zip(names, runs, strict=True))
    ]
    each = "".join(
        f"<h2>{escape(name)}</h2>{html.verdict_and_tables(run)}"
        for name, run in zip(names, shown, strict=True)
    )
    body = f"<h1>{len(runs)} runs side by side</h1>{side_by_side.table(shown)}"
    return html.page("llmbench report", body + html.charts_html(overlay(sides)) + each)
