"""`llmbench plot DIR…`: the curves of sweeps and capacity searches on one page."""

from __future__ import annotations

import html
from pathlib import Path

from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError
from llmbench_locust.experiments import curves
from llmbench_locust.results.charts import Figure
from llmbench_locust.results.files import write_whole
from llmbench_locust.results.html import charts_html, page
from llmbench_locust.results.tables import html_table
from llmbench_locust.terminal import say


def main(argv: list[str]) -> int:
    """Write report.html, and images with --format. Raises ConfigError."""
    parser = CommandParser(
        "llmbench plot",
        "Draw the curves of directories of llmbench sweep, llmbench capacity and vllm bench sweep.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the page here (DIR/report.html)"
    )
    parser.add_argument(
        "--format", choices=("png", "svg"), help="also write images; needs the package kaleido"
    )
    parser.add_argument("--num-gpus", type=int, metavar="N", help="GPUs of the server")
    parser.add_argument(
        "--gpu-hour-price", type=float, metavar="X", help="dollars for a GPU hour; adds costs"
    )
    flags = parser.parse_args(argv)
    for name, value in (("--num-gpus", flags.num_gpus), ("--gpu-hour-price", flags.gpu_hour_price)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name}: {value:g} is too small; use a number above 0")
    cells = [cell for path in flags.paths for cell in curves.cells_of(path)]
    capacities = [c for path in flags.paths if (c := curves.capacity_of(path)) is not None]
    prices = curves.Prices(flags.num_gpus, flags.gpu_hour_price)
    found = curves.charts(cells, prices, capacities)
    # A capacity search already has a report.html.
    default = "curves.html" if (flags.paths[0] / "capacity.json").exists() else "report.html"
    target = flags.output or flags.paths[0] / default
    body = f"{charts_html(found)}<h2>Cells</h2>{html_table(curves.table(cells, prices))}"
    for path in flags.paths:
        if cost := curves.cost_at_capacity(path, cells, prices):
            say(cost)
            body += f"<p>{html.escape(cost)}</p>"
    write_whole(target, page("Curves", body).encode())
    say(f"Wrote {target}")
    if flags.format:
        _images(found, target, flags.format)
    return 0


def _images(found: list[tuple[str, Figure]], target: Path, kind: str) -> None:
    import plotly.graph_objects as go

    for title, figure in found:
        name = title.lower().replace(" ", "-")
        try:
            data = go.Figure(figure).to_image(format=kind)
        except (ImportError, ValueError, RuntimeError):
            raise ConfigError(
                f"--format {kind}: needs kaleido and a Chrome or Chromium; "
                "pip install 'llmbench-locust[images]'"
            ) from None
        write_whole(target.with_name(f"{name}.{kind}"), data)
        say(f"Wrote {target.with_name(f'{name}.{kind}')}")
