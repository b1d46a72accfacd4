"""Compares runs of two sides: a row with a verdict for each metric, and --fail-on conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmbench_locust.compare.comparable import Note, notes, paired
from llmbench_locust.compare.metrics import DEFAULT, DEFAULT_POOLING, Metric, figure, metric
from llmbench_locust.compare.reading import Run
from llmbench_locust.errors import ConfigError
from llmbench_locust.statistics.blocks import Interval
from llmbench_locust.statistics.comparison import (
    Difference,
    Figure,
    difference,
    holm_levels,
    verdict,
)

CANNOT_TELL = "cannot tell"
MOST_TIMES = 100  # × the requests, or runs: more is not practical


@dataclass(frozen=True, slots=True)
class Condition:
    """``p99_ttft_ms>+5%``: fails if the change is above (below) the limit, a logarithm."""

    text: str
    metric: Metric
    above: bool
    limit: float

    def outcome(self, row: Row, strict: bool) -> str:
        """passed, failed, or undecided, which fails only with ``strict``."""
        low, high = row.interval
        beyond, inside = (low > self.limit, high <= self.limit)
        if not self.above:
            beyond, inside = (high < self.limit, low >= self.limit)
        if beyond or (strict and not inside):
            return "failed"
        return "passed" if inside else "undecided"


@dataclass(frozen=True, slots=True)
class Row:
    """``base`` and ``new``: geometric means over the runs, None without values. ``interval``:
    logarithms of new ÷ base at ``level``. ``needs``: what a decision needs, or why none is
    possible.
    """

    metric: Metric
    base: float | None
    new: float | None
    interval: Interval
    level: float
    verdict: str
    needs: str
    paired: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    name: str
    base: list[Run]
    new: list[Run]
    notes: list[Note]
    rows: list[Row]

    @property
    def void(self) -> bool:
        return any(note.void for note in self.notes)

    def row(self, key: str) -> Row:
        return next(row for row in self.rows if row.metric.key == key)


def parse_condition(text: str) -> Condition:
    """``p99_ttft_ms>+5%`` as a `Condition`. Raises ConfigError."""
    found = re.fullmatch(r"\s*([\w.]+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*", text)
    if not found:
        raise ConfigError(
            f"--fail-on: {text!r} is not a condition; write METRIC>+N% or METRIC<-N%, such as "
            "p99_ttft_ms>+5%"
        )
    key, sign, percent = found.groups()
    if float(percent) <= -100:
        raise ConfigError(f"--fail-on: {text!r}: a change of {percent}% is not possible")
    try:
        wanted = metric(key)
    except ConfigError as error:
        raise ConfigError(f"--fail-on: {error}") from None
    return Condition(text.strip(), wanted, sign == ">", math.log1p(float(percent) / 100))


def default_metrics(base: Sequence[Run]) -> list[Metric]:
    """The metrics to compare without --metrics."""
    if "capacity" in base[0].document:
        return [metric("capacity")]
    pooling = "total_input_sequences" in base[0].document
    return [metric(key) for key in (DEFAULT_POOLING if pooling else DEFAULT)]


def compare(
    name: str, base: list[Run], new: list[Run], metrics: Sequence[Metric], equivalence: float
) -> Comparison:
    """``equivalence``: a share, 0.02 for ±2%."""
    pairs = len(base) == len(new) and all(map(paired, base, new))
    figures = {m: [[figure(run, m) for run in side] for side in (base, new)] for m in metrics}
    found = {m: _difference(*sides, paired=pairs) for m, sides in figures.items()}
    known = {m: d.p_value for m, d in found.items() if d is not None and math.isfinite(d.error.se)}
    levels = dict(zip(known, holm_levels([*known.values()]), strict=True))
    rows = [
        _row(m, figures[m], found[m], levels.get(m, 0.95), math.log1p(equivalence)) for m in metrics
    ]
    return Comparison(name, base, new, notes(base, new), rows)


def _difference(
    base: list[Figure | None], new: list[Figure | None], *, paired: bool
) -> Difference | None:
    a, b = ([f for f in side if f is not None] for side in (base, new))
    if len(a) < len(base) or len(b) < len(new):
        return None
    return difference(a, b, paired=paired)


def _row(
    wanted: Metric,
    sides: list[list[Figure | None]],
    found: Difference | None,
    level: float,
    limit: float,
) -> Row:
    base, new = (_typical(side) for side in sides)
    if found is None:
        why = "0 or missing in a file of " + " and ".join(
            word for word, value in (("base", base), ("new", new)) if value is None
        )
        return Row(wanted, base, new, _UNBOUNDED, level, CANNOT_TELL, why, False)
    interval = found.interval(level)
    word = verdict(interval, limit, wanted.higher_is_better)
    needs = _needs(wanted, sides, found, level, limit) if word == CANNOT_TELL else ""
    return Row(wanted, base, new, interval, level, word, needs, found.paired)


_UNBOUNDED = Interval(-math.inf, math.inf)


def _typical(side: list[Figure | None]) -> float | None:
    values = [f.value for f in side if f is not None]
    if len(values) < len(side):
        return None
    return math.exp(sum(map(math.log, values)) / len(values))


def _needs(
    wanted: Metric,
    sides: list[list[Figure | None]],
    found: Difference,
    level: float,
    limit: float,
) -> str:
    times = found.factor(level, limit)
    if times is None:
        bare = any(f is not None and not f.influences for side in sides for f in side)
        more = "--save-detailed or several runs" if wanted.of_requests else "several runs"
        return f"needs {more}" if bare else "too few requests"
    if found.runs:
        runs = math.ceil(found.runs * times)
        return f"needs {_size(runs)} runs per side"
    return f"needs {_size(_two_digits(max(times, 2.0)))} × the requests"


def _size(times: int) -> str:
    return f"about {times}" if times <= MOST_TIMES else f"over {MOST_TIMES}"


def _two_digits(value: float) -> int:
    """Rounded up to two significant digits."""
    unit = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return math.ceil(value / unit) * unit
