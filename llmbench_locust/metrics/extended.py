"""From the facts of a run to its figures: vLLM's summary, and what its keys cannot say (the
``llmbench`` block of a result). Pure.

Missing is None, never 0. Latencies in milliseconds. docs/results.md describes every key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust._version import __version__
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.audit import verdict
from llmbench_locust.metrics.concurrency import Sweep, steady_window, sweep
from llmbench_locust.metrics.cost import cost, per_gpu
from llmbench_locust.metrics.error_kinds import errors_by_kind
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.metrics.intervals import intervals
from llmbench_locust.metrics.latencies import Floats, input_lengths, latencies
from llmbench_locust.metrics.overload import Overload, overload
from llmbench_locust.metrics.server import server_figures
from llmbench_locust.metrics.tokens import TokenBins, per_token_gaps, token_weights
from llmbench_locust.metrics.validity import certified_percentiles, validity
from llmbench_locust.metrics.vllm import Asked, Summary, good, summarize
from llmbench_locust.records import RecordColumns

Shape = Callable[[Floats], dict[str, float] | None]


class Basis:
    """A finished run's facts and summary, and what several figures need, each computed once."""

    def __init__(self, facts: RunFacts, summary: Summary) -> None:
        self.facts, self.summary = facts, summary
        self.columns, self.found = facts.columns, summary.latencies
        self.percentiles = facts.config.metric_percentiles
        self.shape = shaper(self.percentiles)

    @cached_property
    def exact(self) -> NDArray[np.bool_]:
        return ~self.facts.gone

    @cached_property
    def rows(self) -> NDArray[np.bool_]:
        return self.columns.success & self.exact

    @cached_property
    def weights(self) -> NDArray[np.int64] | None:
        return token_weights(self.columns) if self.summary.kind == "generation" else None

    @cached_property
    def flying(self) -> Sweep:
        return sweep(self.columns)

    @cached_property
    def overload(self) -> Overload | None:
        return overload(self.columns)

    @cached_property
    def server(self) -> Json | None:
        return server_figures(self.facts, self.summary)

    @cached_property
    def bins(self) -> TokenBins:
        return _token_bins(self)


@dataclass(frozen=True, slots=True)
class Figures:
    """``block``: what stands under the key ``llmbench`` of the result."""

    facts: RunFacts
    summary: Summary
    block: Json


def derive(facts: RunFacts) -> Figures:
    """All figures of a finished run."""
    config = facts.config
    summary = summarize(
        facts.columns,
        Asked(config.metric_percentiles, config.goodput, config.backend_info.kind),
        duration_s=facts.duration_s,
        counted=facts.counted,
        folded=facts.folded,
    )
    basis = Basis(facts, summary)
    block = {name: figure(basis) for name, figure in BLOCKS.items()}
    return Figures(facts, summary, {**block, "validity": validity(facts, summary, block)})


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


def _token_bins(basis: Basis) -> TokenBins:
    bins, columns, weights = TokenBins(), basis.columns, basis.weights
    chosen = np.repeat(basis.rows, np.diff(columns.token_offsets))
    bins.add(columns.token_times[chosen], None if weights is None else weights[chosen])
    if basis.facts.folded is not None:
        bins.merge(basis.facts.folded.token_bins)
    return bins


def _tokens_per_event(basis: Basis) -> float | None:
    """Above 1 where chunks carry several tokens: then vLLM's ITL is of chunks."""
    if basis.facts.folded is not None:
        return None
    events = int(np.diff(basis.columns.token_offsets)[basis.columns.success].sum())
    return basis.summary.total_output / events if events else None


def _per_token(basis: Basis) -> dict[str, float] | None:
    """Exact where each event has one token (it is the ITL then), else percentiles within 0.1%."""
    folded = basis.facts.folded
    if basis.weights is None and folded is None:
        return basis.shape(basis.found.itl_s)
    gaps = per_token_gaps(basis.columns, basis.rows, basis.weights)
    if folded is not None:
        gaps.merge(folded.token_gaps)
    return _of_histogram(gaps, basis.percentiles)


def _of_histogram(gaps: Histogram, percentiles: Sequence[float]) -> dict[str, float] | None:
    if not gaps.total:
        return None
    points = sorted({50.0, 90.0, 99.0, *percentiles})
    return _named(gaps.mean_s, points, gaps.percentiles(points), gaps.max_s)


def output_length(columns: RecordColumns, summary: Summary) -> dict[str, int]:
    """Answers shorter or longer than asked for, where the server told their length."""
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
    """Share of all requests, failed ones too, that met each objective, and all objectives."""
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


def _from_due(basis: Basis) -> Json | None:
    """From when a request should have left: what a user saw who came at that moment."""
    columns, found, shape = basis.columns, basis.found, basis.shape
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
) -> Json | None:
    """Completions and tokens in `steady_window`, latencies of the requests that started in it."""
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


def _groups(basis: Basis, names: list[str]) -> Json:
    """Figures by group; ``names`` has each row's ("" for none). {} where there are no groups."""
    present = sorted(
        {n for n in names if n},
        key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n),
    )
    number = {name: i for i, name in enumerate(present)}
    place = np.array([number.get(n, -1) for n in names], np.int64)
    return {name: _group(basis, np.flatnonzero(place == i)) for i, name in enumerate(present)}


def _group(basis: Basis, rows: NDArray[np.int64]) -> Json:
    summary, shape, goodput_ms = basis.summary, basis.shape, basis.facts.config.goodput
    part, lens, exact = basis.columns.take(rows), summary.output_lens[rows], basis.exact[rows]
    found = latencies(part, lens, summary.kind, exact)
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
        "itl_ms": shape(found.itl_s) if bool(exact.all()) else None,
        "e2el_ms": shape(found.e2el_s),
        "goodput_share": good_share,
    }


def workload(basis: Basis) -> Json | None:
    """What tells whether two runs had the same workload; rates stand in the document itself. None
    for a run without a plan. ``hash``: of the prompts, media and lengths in the order of the plan.
    """
    config = basis.facts.config
    if not basis.facts.prompts:
        return None
    found = {"dataset": config.dataset_name, "seed": config.seed, "sampling": config.sampling}
    return {"hash": basis.facts.prompts, **found}


#: The keys of the block, in their order. A figure more is a pure function of `Basis` and one line.
BLOCKS: dict[str, Callable[[Basis], Any]] = {
    "version": lambda b: __version__,
    "interrupted": lambda b: b.facts.interrupted,
    "completed": lambda b: b.summary.completed,
    "failed": lambda b: b.summary.failed,
    "unsent_requests": lambda b: b.facts.unsent,
    "cut_off_requests": lambda b: b.facts.cut_off,
    "peak_concurrent_requests": lambda b: b.flying.peak,
    "peak_output_tokens_per_s": lambda b: (
        float(b.bins.peak()) if b.summary.kind == "generation" else None
    ),
    "tokens_per_event": _tokens_per_event,
    "per_token_itl_ms": _per_token,
    "latency_from_intended_arrival_ms": _from_due,
    "slo_attainment": lambda b: slo_attainment(b.summary, b.facts.config.goodput),
    "overload": lambda b: b.overload,
    "steady_state": lambda b: (
        None if b.overload else steady_state(b.columns, b.summary, b.flying, b.bins)
    ),
    "time_to_first_answer_token_ms": lambda b: b.shape(_first_answer(b.columns)),
    "reasoning_tokens": lambda b: _sum_known(b.columns.ints["reasoning_tokens"][b.columns.success]),
    "finish_reasons": lambda b: _finish_reasons(b.columns),
    "output_length": lambda b: output_length(b.columns, b.summary),
    "connections_opened_on_the_clock": lambda b: int(
        np.count_nonzero(np.nan_to_num(b.columns.floats["connect_s"]) > 0)
    ),
    "errors": lambda b: errors_by_kind(b.columns),
    "by_label": lambda b: _groups(b, b.columns.texts["label"]),
    "by_turn": lambda b: _groups(
        b, ["" if turn < 0 else str(turn) for turn in b.columns.ints["turn"].tolist()]
    ),
    "certified_percentiles": lambda b: certified_percentiles(b.summary, b.percentiles),
    "intervals": lambda b: intervals(b.columns, b.summary, b.percentiles, b.exact),
    "exact": lambda b: b.facts.folded is None,
    "folded_token_events": lambda b: 0 if b.facts.folded is None else b.facts.folded.events,
    "audit": lambda b: None if b.facts.audit is None else verdict(b.facts.audit),
    "workload": workload,
    "server": lambda b: b.server,
    "cost": lambda b: cost(b.facts.config, b.columns, b.summary, b.facts.config.goodput),
    "per_gpu": lambda b: per_gpu(b.facts.config, b.summary),
    "workers": lambda b: list(b.facts.workers),
    "environment": lambda b: b.facts.environment,
}
