"""The objectives of a capacity search, from --goodput, --attainment and --slo, and their
measurement in a run. Pure.

Each condition becomes a required share: ``p99_ttft_ms<=300`` means that 99% of the successful
requests have a TTFT of at most 300 ms. A mean stays a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError
from llmbench_locust.experiments.evidence import MISSED, Goal
from llmbench_locust.metrics.latencies import LATENCIES, Latencies, gaps
from llmbench_locust.metrics.vllm import Summary, good
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.conditions import Condition, parse_condition
from llmbench_locust.statistics.crossing import Unit

Rows = NDArray[np.bool_]
#: Run and steady rows → (met or value, count). If every request fails, all conditions are missed;
#: if no request has such a latency (which may need two tokens), none is.
Measure = Callable[[RecordColumns, Latencies, Rows], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Objective:
    """``goal`` for the search, ``measure`` for a run."""

    goal: Goal
    measure: Measure


def objectives(
    goodput_ms: dict[str, float], attainment: float, conditions: tuple[str, ...]
) -> tuple[Objective, ...]:
    """Raises ConfigError without a condition, and for one that no load can violate."""
    found = [_objective(parse_condition(text, "--slo"), goodput_ms) for text in conditions]
    if goodput_ms:
        found.insert(0, _attainment(goodput_ms, attainment))
    if not found:
        raise ConfigError(
            "--capacity: no objective; give --goodput KEY:MS … or --slo CONDITION, such as "
            "--goodput ttft:300 or --slo 'p99_ttft_ms<=300'"
        )
    return tuple(found)


def units(
    wanted: tuple[Objective, ...], load: float, columns: RecordColumns, summary: Summary, rows: Rows
) -> tuple[Unit, ...]:
    """Each objective's measurement in a run at ``load``, from its steady ``rows`` (bool (n,))."""
    found = summary.latencies
    return tuple(Unit(load, *objective.measure(columns, found, rows)) for objective in wanted)


def _attainment(goodput_ms: dict[str, float], share: float) -> Objective:
    words = " and ".join(f"{name} ≤ {limit:g} ms" for name, limit in goodput_ms.items())

    def measure(columns: RecordColumns, found: Latencies, rows: Rows) -> tuple[float, float]:
        return float(np.count_nonzero(good(found, goodput_ms) & rows)), float(rows.sum())

    return Objective(Goal(words, share), measure)


def _objective(condition: Condition, goodput_ms: dict[str, float]) -> Objective:
    key, limit, upper = condition.key, condition.limit, condition.sign.startswith("<")
    if key == "failed_share" and upper and 0 <= limit < 1:
        return Objective(Goal(str(condition), 1 - limit), _succeeded)
    if key == "attainment" and not upper and 0 < limit <= 1:
        if not goodput_ms:
            raise ConfigError("--slo: attainment needs the objectives of --goodput")
        return _attainment(goodput_ms, limit)
    kind = condition.latency
    if kind is None or not upper or not 0 < limit < math.inf or kind[0] == "std":
        raise ConfigError(
            f"--slo: {str(condition)!r} does not limit anything that load makes worse; use a mean, "
            "median or percentile of a latency with <=, failed_share<=X, or attainment>=X"
        )
    statistic, latency = kind
    if statistic == "mean":
        return Objective(Goal(str(condition)), _mean_of(latency, limit))
    share = 0.5 if statistic == "median" else float(statistic[1:]) / 100
    return Objective(Goal(str(condition), share), _share_of(latency, limit))


def _succeeded(columns: RecordColumns, found: Latencies, rows: Rows) -> tuple[float, float]:
    return float(np.count_nonzero(found.ok & rows)), float(rows.sum())


def _values_ms(
    latency: str, columns: RecordColumns, found: Latencies, rows: Rows
) -> NDArray[np.float64]:
    if latency == "itl":
        return gaps(columns, found.ok & rows) * 1000
    (seconds,) = (row.of(found) for row in LATENCIES if row.key == latency)
    some = seconds[rows & ~np.isnan(seconds)]
    return np.asarray(some * 1000)


def _share_of(latency: str, limit_ms: float) -> Measure:
    def measure(columns: RecordColumns, found: Latencies, rows: Rows) -> tuple[float, float]:
        ok = float(np.count_nonzero(found.ok & rows))
        if not ok:
            return 0.0, float(rows.sum())
        values = _values_ms(latency, columns, found, rows)
        share = float(np.mean(values <= limit_ms)) if len(values) else 1.0
        # Counted in requests, not gaps: the gaps of one response are not independent.
        return share * ok, ok

    return measure


def _mean_of(latency: str, limit_ms: float) -> Measure:
    def measure(columns: RecordColumns, found: Latencies, rows: Rows) -> tuple[float, float]:
        if not np.any(found.ok & rows):
            return MISSED, 1.0
        values = _values_ms(latency, columns, found, rows)
        return (float(values.mean()) / limit_ms if len(values) else 0.0), 1.0

    return measure
