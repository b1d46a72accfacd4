"""What vLLM's keys cannot say: the ``llmbench`` block of a result. Pure: records in, a dict out.

Missing is None, never 0. Latencies in milliseconds. docs/results.md describes every key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust._version import __version__
from llmbench_locust.metrics.concurrency import Sweep, steady_window, sweep
from llmbench_locust.metrics.error_kinds import errors_by_kind
from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.metrics.intervals import intervals
from llmbench_locust.metrics.latencies import Floats, Latencies, input_lengths, latencies
from llmbench_locust.metrics.overload import overload
from llmbench_locust.metrics.store import Folded
from llmbench_locust.metrics.tokens import TokenBins, per_token_gaps, token_weights
from llmbench_locust.metrics.vllm import Summary, good
from llmbench_locust.records import RecordColumns

Shape = Callable[[Floats], dict[str, float] | None]


def extended(
    columns: RecordColumns,
    summary: Summary,
    *,
    percentiles: Sequence[float],
    goodput_ms: dict[str, float],
    audit: dict[str, Any] | None = None,
    interrupted: bool = False,
    unsent: int = 0,
    workers: Sequence[dict[str, Any]] = (),
    folded: Folded | None = None,
    environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole block. ``unsent``: requests of the plan that were never sent (a bounded run time,
    an interruption).
    """
    found = summary.latencies
    shape = shaper(percentiles)
    flying = sweep(columns)
    too_much = overload(columns)
    exact = np.ones(len(columns), np.bool_) if folded is None else ~folded.mask(columns)
    rows = columns.success & exact
    weights = token_weights(columns) if summary.kind == "generation" else None
    bins = _token_bins(columns, rows, weights, folded)
    turns = ["" if t < 0 else str(t) for t in columns.ints["turn"].tolist()]
    group = _grouper(columns, summary, exact, goodput_ms, shape)
    return {
        "version": __version__,
        "interrupted": interrupted,
        "completed": summary.completed,
        "failed": summary.failed,
        "unsent_requests": unsent,
        "peak_concurrent_requests": flying.peak,
        "peak_output_tokens_per_s": float(bins.peak()) if summary.kind == "generation" else None,
        "tokens_per_event": _tokens_per_event(columns, summary, folded),
        "per_token_itl_ms": _per_token(columns, rows, weights, folded, found, percentiles, shape),
        "latency_from_intended_arrival_ms": _from_due(columns, found, shape),
        "slo_attainment": slo_attainment(summary, goodput_ms),
        "overload": too_much,
        "steady_state": None if too_much else steady_state(columns, summary, flying, bins),
        "time_to_first_answer_token_ms": shape(_first_answer(columns)),
        "reasoning_tokens": _sum_known(columns.ints["reasoning_tokens"][columns.success]),
        "finish_reasons": _finish_reasons(columns),
        "output_length": output_length(columns, summary),
        "connections_opened_on_the_clock": int(
            np.count_nonzero(np.nan_to_num(columns.floats["connect_s"]) > 0)
        ),
        "errors": errors_by_kind(columns),
        "by_label": group(columns.texts["label"]),
        "by_turn": group(turns),
        "intervals": intervals(columns, summary, percentiles, exact),
        "exact": folded is None,
        "folded_token_events": 0 if folded is None else folded.events,
        "audit": audit,
        "workers": list(workers),
        "environment": environment or {},
    }


def shaper(percentiles: Sequence[float]) -> Shape:
    """Seconds → mean, percentiles (50, 90, 99 and the wanted ones) and max in ms; None without a
    sample.
    """
    points = sorted({50.0, 90.0, 99.0, *percentiles})

    def shape(seconds: Floats) -> dict[str, float] | None:
        some = seconds[~np.isnan(seconds)]
        if not len(some):
            return None
        return _named(
            float(some.mean()), points, np.percentile(some, points).tolist(), float(some.max())
        )

    return shape


def _named(
    mean_s: float, points: Sequence[float], values_s: Sequence[float], max_s: float
) -> dict[str, float]:
    names = [f"p{int(p) if int(p) == p else p}" for p in points]
    values = {name: value * 1000 for name, value in zip(names, values_s, strict=True)}
    return {"mean": mean_s * 1000, **values, "max": max_s * 1000}


# --- tokens


def _token_bins(
    columns: RecordColumns,
    rows: NDArray[np.bool_],
    weights: NDArray[np.int64] | None,
    folded: Folded | None,
) -> TokenBins:
    bins = TokenBins()
    chosen = np.repeat(rows, np.diff(columns.token_offsets))
    bins.add(columns.token_times[chosen], None if weights is None else weights[chosen])
    if folded is not None:
        bins.merge(folded.token_bins)
    return bins


def _tokens_per_event(
    columns: RecordColumns, summary: Summary, folded: Folded | None
) -> float | None:
    """Above 1 where chunks carry several tokens: then vLLM's ITL is of chunks."""
    if folded is not None:
        return None
    events = int(np.diff(columns.token_offsets)[columns.success].sum())
    return summary.total_output / events if events else None


def _per_token(
    columns: RecordColumns,
    rows: NDArray[np.bool_],
    weights: NDArray[np.int64] | None,
    folded: Folded | None,
    found: Latencies,
    percentiles: Sequence[float],
    shape: Shape,
) -> dict[str, float] | None:
    """Exact where each event carries one token (it is the ITL then), else percentiles within
    0.1%.
    """
    if weights is None and folded is None:
        return shape(found.itl_s)
    gaps = per_token_gaps(columns, rows, weights)
    if folded is not None:
        gaps.merge(folded.token_gaps)
    return _of_histogram(gaps, percentiles)


def _of_histogram(gaps: Histogram, percentiles: Sequence[float]) -> dict[str, float] | None:
    if not gaps.total:
        return None
    points = sorted({50.0, 90.0, 99.0, *percentiles})
    return _named(gaps.mean_s, points, gaps.percentiles(points), gaps.max_s)


def output_length(columns: RecordColumns, summary: Summary) -> dict[str, int]:
    """Answers that are shorter or longer than what was asked for, where the server told their
    length.
    """
    asked = columns.ints["expected_output_len"]
    told = summary.latencies.ok & (asked > 0) & (columns.ints["output_len"] > 0)
    return {
        "as_asked": int(np.count_nonzero(told & (summary.output_lens == asked))),
        "shorter": int(np.count_nonzero(told & (summary.output_lens < asked))),
        "longer": int(np.count_nonzero(told & (summary.output_lens > asked))),
    }


def _finish_reasons(columns: RecordColumns) -> dict[str, int]:
    given = (
        r
        for r, ok in zip(columns.texts["finish_reason"], columns.success.tolist(), strict=True)
        if ok and r
    )
    return dict(Counter(given).most_common())


def _first_answer(columns: RecordColumns) -> Floats:
    """Only where there was reasoning before: else it is the TTFT."""
    first = columns.floats["first_answer_time"] - columns.floats["start_time"]
    return first[columns.success & (columns.ints["reasoning_tokens"] > 0)]


def _sum_known(values: NDArray[np.int64]) -> int | None:
    known = values[values >= 0]
    return int(known.sum()) if len(known) else None


# --- objectives, intended arrivals, steady state
# ---------------------------------------------------------------------


def slo_attainment(summary: Summary, goodput_ms: dict[str, float]) -> dict[str, float | None]:
    """Share of all requests, failed ones included, that met each objective, and all of them
    together.
    """
    total = summary.completed + summary.failed
    if not goodput_ms:
        return {}
    if not total:
        return dict.fromkeys([*goodput_ms, "all"])
    one = {
        k: float(np.count_nonzero(good(summary.latencies, {k: v}))) / total
        for k, v in goodput_ms.items()
    }
    return {**one, "all": float(np.count_nonzero(good(summary.latencies, goodput_ms))) / total}


def _from_due(columns: RecordColumns, found: Latencies, shape: Shape) -> dict[str, Any] | None:
    """From when a request should have left: what a user saw who came at that moment."""
    waited = columns.floats["start_time"] - columns.floats["due_time"]
    if np.all(np.isnan(waited)):
        return None
    return {
        "ttft": shape(found.ttft_s + waited),
        "e2el": shape(found.e2el_s + waited),
        "wait": shape(waited[found.ok]),
    }


def steady_state(
    columns: RecordColumns, summary: Summary, flying: Sweep, bins: TokenBins
) -> dict[str, Any] | None:
    """Figures of `steady_window`: completions and tokens in it, latencies of the requests that
    started in it.
    """
    window = steady_window(columns, flying)
    if window is None:
        return None
    begin, end = window
    start, ends = columns.floats["start_time"], columns.floats["end_time"]
    done = columns.success & (ends >= begin) & (ends < end)
    started = columns.success & (start >= begin) & (start < end)
    found, length = summary.latencies, end - begin
    first = float(np.nanmin(start))
    return {
        "begin_s": begin - first,
        "window_s": length,
        "requests": int(np.count_nonzero(started)),
        "request_throughput": float(np.count_nonzero(done)) / length,
        "output_throughput": bins.between(begin, end) / length
        if summary.kind == "generation"
        else None,
        "mean_concurrent_requests": flying.mean(begin, end),
        "mean_ttft_ms": _mean_ms(found.ttft_s[started]),
        "mean_tpot_ms": _mean_ms(found.tpot_s[started]),
        "mean_e2el_ms": _mean_ms(found.e2el_s[started]),
    }


def _mean_ms(seconds: Floats) -> float | None:
    some = seconds[~np.isnan(seconds)]
    return float(some.mean() * 1000) if len(some) else None


# --- groups


def _grouper(
    columns: RecordColumns,
    summary: Summary,
    exact: NDArray[np.bool_],
    goodput_ms: dict[str, float],
    shape: Shape,
) -> Callable[[list[str]], dict[str, Any]]:
    """Figures of each group of requests, by a name for each row ("" for none); {} where there are
    no groups.
    """

    def figures(rows: NDArray[np.int64]) -> dict[str, Any]:
        part, lens = columns.take(rows), summary.output_lens[rows]
        found = latencies(part, lens, summary.kind, exact[rows])
        completed = int(np.count_nonzero(found.ok))
        good_share = (
            float(np.count_nonzero(good(found, goodput_ms))) / len(rows) if goodput_ms else None
        )
        per_s = 1 / summary.duration_s if summary.duration_s > 0 else 0.0
        return {
            "requests": len(rows),
            "completed": completed,
            "failed": len(rows) - completed,
            "input_tokens": int(input_lengths(part)[found.ok].sum()),
            "output_tokens": int(lens.sum()),
            "request_throughput": completed * per_s,
            "output_throughput": int(lens.sum()) * per_s,
            "ttft_ms": shape(found.ttft_s),
            "tpot_ms": shape(found.tpot_s),
            "itl_ms": shape(found.itl_s) if bool(exact[rows].all()) else None,
            "e2el_ms": shape(found.e2el_s),
            "goodput_share": good_share,
        }

    def group(names: list[str]) -> dict[str, Any]:
        present = sorted(
            {n for n in names if n},
            key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n),
        )
        if not present:
            return {}
        number = {name: i for i, name in enumerate(present)}
        place = np.array([number.get(n, -1) for n in names], np.int64)
        return {name: figures(np.flatnonzero(place == i)) for i, name in enumerate(present)}

    return group
