"""What vLLM's keys cannot say: the ``llmbench`` block of a result. Pure: records in, a dict out.

Missing is None, never 0. Latencies in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust._version import __version__
from llmbench_locust.metrics.latencies import Floats, latencies
from llmbench_locust.metrics.store import Folded
from llmbench_locust.metrics.vllm import Summary, good
from llmbench_locust.records import RecordColumns


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
    """The whole block. ``unsent``: requests of the plan that were never sent (a bounded run time, an interruption)."""
    found = summary.latencies
    shape = _shaper(percentiles)
    return {
        "version": __version__,
        "interrupted": interrupted,
        "unsent_requests": unsent,
        "peak_concurrent_requests": peak_concurrency(columns),
        "peak_output_tokens_per_s": peak_tokens_per_second(columns) if folded is None else None,
        "per_token_itl_ms": shape(per_token_gaps(columns)) if folded is None else None,
        "latency_from_intended_arrival_ms": _from_due(columns, summary, shape),
        "slo_attainment": slo_attainment(summary, goodput_ms),
        "steady_state": steady_state(columns, summary),
        "time_to_first_answer_token_ms": shape(_first_answer(columns)),
        "reasoning_tokens": _sum_known(columns.ints["reasoning_tokens"]),
        "finish_reasons": dict(Counter(r for r, ok in zip(columns.texts["finish_reason"], found.ok, strict=True) if ok and r)),
        "output_length": output_length(columns, summary),
        "connections_opened_on_the_clock": int(np.count_nonzero(np.nan_to_num(columns.floats["connect_s"]) > 0)),
        "errors": errors_by_kind(columns),
        "by_label": _groups(columns, summary, columns.texts["label"], goodput_ms, shape),
        "by_turn": _groups(
            columns, summary, ["" if t < 0 else str(t) for t in columns.ints["turn"].tolist()], goodput_ms, shape
        ),
        "exact": folded is None,
        "folded_token_events": 0 if folded is None else folded.events,
        "audit": audit,
        "workers": list(workers),
        "environment": environment or {},
    }


def _shaper(percentiles: Sequence[float]) -> Callable[[Floats], dict[str, float] | None]:
    points = sorted({50.0, 90.0, 99.0, *percentiles})

    def shape(seconds: Floats) -> dict[str, float] | None:
        some = seconds[~np.isnan(seconds)]
        if not len(some):
            return None
        values = (np.percentile(some, points) * 1000).tolist()
        names = [f"p{int(p) if int(p) == p else p}" for p in points]
        return {"mean": float(some.mean() * 1000), **dict(zip(names, values, strict=True)), "max": float(some.max() * 1000)}

    return shape


def peak_concurrency(columns: RecordColumns) -> int:
    """The most requests in flight at one moment, exactly: between each start and its end, failed ones included."""
    start, end = columns.floats["start_time"], columns.floats["end_time"]
    there = ~np.isnan(start) & ~np.isnan(end)
    if not np.any(there):
        return 0
    times = np.concatenate([start[there], end[there]])
    change = np.concatenate([np.ones(int(there.sum())), -np.ones(int(there.sum()))])
    order = np.lexsort((change, times))  # at one moment, ends come before starts
    return int(np.cumsum(change[order]).max())


def token_weights(columns: RecordColumns) -> NDArray[np.int64]:
    """Tokens of each event (shape of ``token_times``).

    By the server's word where it gave one for each chunk; else, where an answer has more tokens than events, evenly.
    """
    events = np.diff(columns.token_offsets)
    if columns.token_counts is not None:
        return columns.token_counts.astype(np.int64)
    lens = columns.ints["output_len"]
    weights = np.ones(len(columns.token_times), np.int64)
    for row in np.flatnonzero((lens > events) & (events > 0)).tolist():
        a, b = int(columns.token_offsets[row]), int(columns.token_offsets[row + 1])
        each, more = divmod(int(lens[row]), b - a)
        weights[a:b] = each
        weights[a : a + more] += 1
    return weights


def peak_tokens_per_second(columns: RecordColumns) -> float:
    """The most tokens in any window of one second, wherever it begins, tokens counted and not chunks."""
    ok = np.repeat(columns.success, np.diff(columns.token_offsets))
    times = columns.token_times[ok]
    if not len(times):
        return 0.0
    order = np.argsort(times, kind="stable")
    times, upto = times[order], np.concatenate([[0], np.cumsum(token_weights(columns)[ok][order])])
    inside = upto[np.searchsorted(times, times + 1.0, side="left")] - upto[:-1]
    return float(inside.max())


def per_token_gaps(columns: RecordColumns) -> Floats:
    """Gaps by token: a chunk of k tokens after a gap g stands for k gaps of g / k (seconds)."""
    events = np.diff(columns.token_offsets)
    times, offsets = columns.token_times, columns.token_offsets
    if len(times) < 2:
        return np.empty(0)
    row = np.repeat(np.arange(len(events)), events)
    inside = np.flatnonzero((row[1:] == row[:-1]) & columns.success[row[1:]])
    weights = np.maximum(token_weights(columns)[inside + 1], 1)
    assert len(offsets)
    return np.repeat((times[inside + 1] - times[inside]) / weights, weights)


def slo_attainment(summary: Summary, goodput_ms: dict[str, float]) -> dict[str, float | None]:
    """Share of all requests, failed ones included, that met each objective, and all of them together."""
    total = summary.completed + summary.failed
    if not goodput_ms:
        return {}
    if not total:
        return dict.fromkeys([*goodput_ms, "all"])
    one = {k: float(np.count_nonzero(good(summary.latencies, {k: v}))) / total for k, v in goodput_ms.items()}
    return {**one, "all": float(np.count_nonzero(good(summary.latencies, goodput_ms))) / total}


def steady_state(columns: RecordColumns, summary: Summary) -> dict[str, Any] | None:
    """Figures of the middle of the run: from the first tenth of the arrivals to the last one.

    Of the requests that started in the window, so that warm-up and the emptying of the queue are in none of them.
    """
    start = columns.floats["start_time"]
    known = ~np.isnan(start)
    if np.count_nonzero(known) < 20:
        return None
    begin, end = np.quantile(start[known], [0.1, 0.9])
    if end <= begin:
        return None
    inside = known & (start >= begin) & (start <= end) & columns.success
    events = np.repeat(columns.success, np.diff(columns.token_offsets))
    tokens = int(token_weights(columns)[events & (columns.token_times >= begin) & (columns.token_times <= end)].sum())
    found = summary.latencies
    mean = _mean_ms
    return {
        "window_s": float(end - begin),
        "requests": int(np.count_nonzero(inside)),
        "request_throughput": float(np.count_nonzero(inside) / (end - begin)),
        "output_throughput": float(tokens / (end - begin)),
        "mean_ttft_ms": mean(found.ttft_s[inside]),
        "mean_tpot_ms": mean(found.tpot_s[inside]),
        "mean_e2el_ms": mean(found.e2el_s[inside]),
    }


def output_length(columns: RecordColumns, summary: Summary) -> dict[str, int]:
    """Answers that are shorter or longer than what was asked for."""
    asked = columns.ints["expected_output_len"]
    told = summary.latencies.ok & (asked > 0) & (columns.ints["output_len"] > 0)
    return {
        "as_asked": int(np.count_nonzero(told & (summary.output_lens == asked))),
        "shorter": int(np.count_nonzero(told & (summary.output_lens < asked))),
        "longer": int(np.count_nonzero(told & (summary.output_lens > asked))),
    }


def errors_by_kind(columns: RecordColumns) -> dict[str, dict[str, Any]]:
    """Count and first message of each kind of error."""
    found: dict[str, dict[str, Any]] = {}
    for row in np.flatnonzero(~columns.success).tolist():
        kind = columns.texts["error_kind"][row] or "unknown"
        entry = found.setdefault(kind, {"count": 0, "first": columns.texts["error"][row]})
        entry["count"] += 1
    return found


def _from_due(columns: RecordColumns, summary: Summary, shape: Any) -> dict[str, Any] | None:
    waited = columns.floats["start_time"] - columns.floats["due_time"]
    if np.all(np.isnan(waited)):
        return None
    found = summary.latencies
    return {"ttft": shape(found.ttft_s + waited), "e2el": shape(found.e2el_s + waited), "wait": shape(waited[found.ok])}


def _first_answer(columns: RecordColumns) -> Floats:
    """Only where there was reasoning before: else it is the TTFT."""
    first = columns.floats["first_answer_time"] - columns.floats["start_time"]
    reasoned = columns.ints["reasoning_tokens"] > 0
    return first[columns.success & reasoned]


def _sum_known(values: NDArray[np.int64]) -> int | None:
    known = values[values >= 0]
    return int(known.sum()) if len(known) else None


def _mean_ms(seconds: Floats) -> float | None:
    some = seconds[~np.isnan(seconds)]
    return float(some.mean() * 1000) if len(some) else None


def _groups(
    columns: RecordColumns, summary: Summary, names: list[str], goodput_ms: dict[str, float], shape: Any
) -> dict[str, Any]:
    """Figures of each group of requests; {} where there are no groups."""
    present = sorted({n for n in names if n}, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))
    key = np.array(names, object)
    result: dict[str, Any] = {}
    for name in present:
        rows = np.flatnonzero(key == name)
        part = columns.take(rows)
        lens = summary.output_lens[rows]
        found = latencies(part, lens, summary.kind)
        completed = int(np.count_nonzero(found.ok))
        result[name] = {
            "requests": len(rows),
            "completed": completed,
            "failed": len(rows) - completed,
            "input_tokens": int(part.ints["prompt_len"][found.ok].sum()),
            "output_tokens": int(lens.sum()),
            "ttft_ms": shape(found.ttft_s),
            "tpot_ms": shape(found.tpot_s),
            "itl_ms": shape(found.itl_s),
            "e2el_ms": shape(found.e2el_s),
            "goodput_share": float(np.count_nonzero(good(found, goodput_ms))) / len(rows) if goodput_ms else None,
        }
    return result
