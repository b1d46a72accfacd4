"""`llmbench plot`: the curves of sweeps and capacity searches as plotly's JSON. Pure, except for
reading the files.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from llmbench_locust.compare.reading import run_of, section
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import number
from llmbench_locust.results.charts import Figure, layout, trace, upright
from llmbench_locust.results.shown import attained, client_limited
from llmbench_locust.results.tables import short
from llmbench_locust.statistics.blocks import runs_interval

Result = Json
Value = Callable[[Result], float | None]
#: Each directory has a symbol and a colour, to be readable in grey, too.
_COLOURS = ("#1b4f8a", "#d9730d", "#3c8c40", "#8a4fa3", "#555555")
_MARK = {"color": "#222222", "dash": "dot"}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


@dataclass(frozen=True, slots=True)
class Cell:
    """Runs of one setting. ``source``: the directory from the command line."""

    source: str
    name: str
    files: tuple[str, ...]
    runs: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """``gpus``: None uses the record's parallel sizes. ``hour``: dollars per GPU hour."""

    gpus: int | None = None
    hour: float | None = None

    def gpus_of(self, run: Result) -> float:
        """GPUs of a run, by --num-gpus or by the keys that plot_pareto uses."""
        if self.gpus is not None:
            return float(self.gpus)
        count = 1.0
        for kind in ("tensor", "pipeline", "data"):
            names = (f"{kind}_parallel_size", f"{kind[0]}p")
            count *= next((number(run[n]) or 1 for n in names if n in run), 1)
        return count

    def per_million(self, run: Result, key: str) -> float | None:
        """Dollars per million tokens at the throughput ``key``."""
        rate = number(run.get(key))
        if self.hour is None or not rate:
            return None
        return self.hour * self.gpus_of(run) / 3600 / rate * 1e6


def cells_of(path: Path) -> list[Cell]:
    """Cells of a sweep or capacity directory, ours or vLLM's. Raises ConfigError if empty."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(path.rglob("*.json")):
        if file.name.startswith("run=") and not file.name.endswith(".failure.json"):
            found.setdefault(file.parent, []).append(file)
        elif file.parent.name == "probes":
            found[file] = [file]
    cells = []
    for key, files in found.items():
        runs = tuple(read_result(file) for file in files)
        name = str(key.relative_to(path))
        cells.append(Cell(str(path), name, tuple(map(str, files)), runs))
    if not cells:
        raise ConfigError(
            f"{path}: has no results; use a directory of llmbench sweep or llmbench capacity"
        )
    return cells


def read_result(file: Path) -> Result:
    """The object in a file. Raises ConfigError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"{file} is not a result: {e}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{file} is not a result: it must be a JSON object")
    return found


def attainment(run: Result) -> float | None:
    """Percent of the requests that met every objective."""
    share = attained(run)
    return None if share is None else 100.0 * float(share)


def _remark(cell: Cell) -> str:
    return " (client limited)" if any(map(client_limited, cell.runs)) else ""


def charts(
    cells: Sequence[Cell], prices: Prices, capacities: Sequence[float]
) -> list[tuple[str, Figure]]:
    """Title and figure of each chart that has a point."""
    found = []
    for title, x, x_name, y, y_name in (*_CHARTS, _cost_chart(prices)):
        data = list(_lines(cells, x, y))
        if data:
            figure: Figure = {"data": data, "layout": layout(x_name, y_name)}
            if x_name == _RATE:
                figure["layout"]["shapes"] = [upright(c, line=_MARK) for c in capacities]
            if "(%)" in y_name:
                figure["layout"]["yaxis"]["range"] = [0, 105]
            found.append((title, figure))
    for key in ("ttft", "tpot"):
        boxes = list(_boxes(cells, key))
        if boxes:
            shape = layout("cell", f"{key.upper()} (ms)", logy=True, boxmode="group")
            shape["xaxis"]["type"] = "category"
            found.append((f"{key.upper()} by cell", {"data": boxes, "layout": shape}))
    pareto = list(_pareto(cells, prices))
    if pareto:
        names = ("output tokens/s per user", "output tokens/s per GPU")
        found.append(
            ("Throughput per GPU and per user", {"data": pareto, "layout": layout(*names)})
        )
    return found


def _key(name: str) -> Value:
    """The figure of that name. A latency of 0 is none: vLLM writes it if nothing succeeded."""
    none = (0.0, None) if name.endswith("_ms") else (None,)
    return lambda run: None if run.get(name) in none else number(run.get(name))


def _own(*keys: str) -> Value:
    def value(run: Result) -> float | None:
        found = section(run, "llmbench")
        for key in keys[:-1]:
            found = section(found, key)
        return number(found.get(keys[-1]))

    return value


#: Title, x, its title, lines, title of y.
Chart = tuple[str, Value, str, tuple[tuple[str, Value], ...], str]
_RATE, _TOKENS = "request rate (requests/s)", "total throughput (tokens/s)"
_CHARTS: tuple[Chart, ...] = (
    *(
        (
            f"{title} against {'rate' if x_name == _RATE else 'throughput'}",
            _key("request_rate" if x_name == _RATE else "total_token_throughput"),
            x_name,
            (("median", _key(f"median_{key}_ms")), ("P99", _key(f"p99_{key}_ms"))),
            f"{title} (ms)",
        )
        for title, key in (("TTFT", "ttft"), ("TPOT", "tpot"))
        for x_name in (_RATE, _TOKENS)
    ),
    (
        "Goodput against rate",
        _key("request_rate"),
        _RATE,
        (("goodput", _key("request_goodput")), ("throughput", _key("request_throughput"))),
        "requests/s",
    ),
    (
        "Attainment against rate",
        _key("request_rate"),
        _RATE,
        (("all objectives", attainment),),
        "requests that meet the objectives (%)",
    ),
    (
        "Energy against rate",
        _key("request_rate"),
        _RATE,
        (("joules", _own("gpu", "joules_per_output_token")),),
        "J per output token",
    ),
)


def _cost_chart(prices: Prices) -> Chart:
    """By --gpu-hour-price, else by each run's own price."""
    own = _own("cost", "per_million_output_tokens")
    good = _own("cost", "at_goodput", "per_million_output_tokens")

    def cost(run: Result) -> float | None:
        return own(run) if prices.hour is None else prices.per_million(run, "output_throughput")

    lines: tuple[tuple[str, Value], ...] = (("all requests", cost),)
    if prices.hour is None:
        lines = (*lines, ("requests that met the objectives", good))
    name = "cost per million output tokens" + ("" if prices.hour is None else " ($)")
    return ("Cost against rate", _key("request_rate"), _RATE, lines, name)


def _lines(cells: Sequence[Cell], x: Value, lines: tuple[tuple[str, Value], ...]) -> Iterator[Json]:
    """A line per directory and figure: the mean over the runs with its 95% interval."""
    sources = list(dict.fromkeys(cell.source for cell in cells))
    for number_, source in enumerate(sources):
        for name, y in lines:
            points = sorted(_points(cells, source, x, y), key=lambda p: p[0])
            if points:
                solid = name not in ("P99", "throughput")
                label = f"{Path(source).name}: {name}" if len(sources) > 1 else name
                yield _trace(label, points, number_, solid)


def _boxes(cells: Sequence[Cell], key: str) -> Iterator[Json]:
    """A box for each cell whose files have requests: quartiles, whiskers at P1 and P99 (ms)."""
    for number_, source in enumerate(dict.fromkeys(cell.source for cell in cells)):
        drawn = []
        for cell in sorted(cells, key=lambda c: mean(c, _key("request_rate"))[0] or math.inf):
            found = [run_of(f, r).requests for f, r in zip(cell.files, cell.runs, strict=True)]
            kept = [r.samples[key].values for r in found if r is not None and key in r.samples]
            if cell.source == source and kept:
                values = np.percentile(np.concatenate(kept) * 1000, [1, 25, 50, 75, 99])
                drawn.append((html.escape(cell.name), *values.tolist()))
        if drawn:
            names = ("x", "lowerfence", "q1", "median", "q3", "upperfence")
            line = {"color": _COLOURS[number_ % len(_COLOURS)]}
            rows = dict(zip(names, zip(*drawn, strict=True), strict=True))
            yield {"type": "box", "name": html.escape(Path(source).name), "line": line, **rows}


def _points(
    cells: Sequence[Cell], source: str, x: Value, y: Value
) -> Iterator[tuple[float, float, float, Cell]]:
    for cell in cells:
        at, _ = mean(cell, x)
        value, half = mean(cell, y)
        if cell.source == source and at is not None and value is not None:
            yield at, value, half, cell


def mean(cell: Cell, value: Value) -> tuple[float | None, float]:
    """Mean over the runs, and half the width of its 95% interval (0 for one run)."""
    found = [v for v in map(value, cell.runs) if v is not None]
    if not found:
        return None, 0.0
    interval = runs_interval(found)
    half = 0.0 if interval is None else (interval.high - interval.low) / 2
    return sum(found) / len(found), half


def _trace(
    label: str, points: Sequence[tuple[float, float, float, Cell]], number_: int, solid: bool
) -> Json:
    colour = _COLOURS[number_ % len(_COLOURS)]
    above, below = [p[2] for p in points], [min(p[1:3]) for p in points]  # nothing is below 0
    return trace(
        "scatter",
        html.escape(label),
        [p[0] for p in points],
        [p[1] for p in points],
        mode="lines+markers",
        error_y={"type": "data", "array": above, "arrayminus": below, "thickness": 1},
        text=[html.escape(p[3].files[0] + _remark(p[3])) for p in points],
        line={"color": colour, "dash": "solid" if solid else "dash"},
        marker={"symbol": _SYMBOLS[number_ % len(_SYMBOLS)], "size": 8},
    )


def _pareto(cells: Sequence[Cell], prices: Prices) -> Iterator[Json]:
    """All cells, and the Pareto frontier."""
    points = []
    for cell in cells:
        tokens, _ = mean(cell, _key("output_throughput"))
        users, most = (
            mean(cell, _key(k))[0] for k in ("max_concurrency", "max_concurrent_requests")
        )
        users = users or most
        if tokens and users:
            points.append((tokens / users, tokens / prices.gpus_of(cell.runs[0]), 0.0, cell))
    best = [p for p in points if not any(q[0] >= p[0] and q[1] > p[1] for q in points)]
    if points:
        every = _trace("cells", sorted(points, key=lambda p: p[0]), 4, True)
        yield {**every, "mode": "markers", "error_y": {"visible": False}}
        yield {
            **_trace("Pareto frontier", sorted(best, key=lambda p: p[0]), 0, True),
            "error_y": {},
        }


def table(cells: Sequence[Cell], prices: Prices) -> list[list[str]]:
    """A header, then a row per cell: means ± half the width of their 95% intervals."""
    keys = (
        *("request_rate", "request_throughput", "output_throughput", "median_ttft_ms"),
        *("p99_ttft_ms", "median_tpot_ms", "p99_tpot_ms"),
    )
    costs = {"output": "output_throughput", "total": "total_token_throughput"}
    if prices.hour is None:
        costs = {}
    rows = [["cell", *keys, *(f"$ per million {name} tokens" for name in costs)]]
    for cell in cells:
        row = [f"{Path(cell.source, cell.name)}{_remark(cell)}"]
        for key in keys:
            value, half = mean(cell, _key(key))
            row.append(
                "" if value is None else short(value) + (f" ± {short(half, 2)}" if half else "")
            )
        for key in costs.values():
            cost = mean(cell, partial(prices.per_million, key=key))[0]
            row.append("" if cost is None else short(cost, 3))
        rows.append(row)
    return rows


def capacity_of(path: Path) -> float | None:
    """The answer of a capacity directory; None if it is a number of users."""
    file = path / "capacity.json"
    found = read_result(file) if file.exists() else {}
    return None if found.get("unit") == "users" else number(found.get("capacity"))


def cost_at_capacity(path: Path, cells: Sequence[Cell], prices: Prices) -> str:
    """A line with the costs at the capacity of ``path``; "" if one of them is not known.

    The tokens per request are those of the nearest probe.
    """
    at = capacity_of(path)
    own = [cell for cell in cells if cell.source == str(path)]
    near = [(cell.runs[0], mean(cell, _key("request_throughput"))[0]) for cell in own]
    known = [(run, rate) for run, rate in near if rate]
    if at is None or not known:
        return ""
    run, rate = min(known, key=lambda pair: abs(pair[1] / at - 1))
    costs = [prices.per_million(run, f"{name}_throughput") for name in ("output", "total_token")]
    output, total = (None if cost is None else cost * rate / at for cost in costs)
    if output is None or total is None:
        return ""
    return (
        f"{path}: at the capacity of {at:.4g} req/s ${output:.3g} per million output tokens, "
        f"${total:.3g} per million tokens"
    )
