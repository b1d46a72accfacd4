"""The numbers of `vllm bench serve`, by its definitions, quirks included. Pure: records in, numbers out.

Its peaks count whole seconds from the earliest start; a metric without a sample is 0 there, and so it is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.latencies import Floats, Ints, Latencies, latencies, output_lengths
from llmbench_locust.metrics.store import BIN_S, Folded
from llmbench_locust.records import RecordColumns


@dataclass(frozen=True, slots=True)
class Distribution:
    """Milliseconds. ``percentiles``: (p, value)."""

    mean: float
    median: float
    std: float
    percentiles: tuple[tuple[float, float], ...]
    count: int = 0

    @classmethod
    def of(cls, seconds: Floats, percentiles: Sequence[float]) -> Distribution:
        """numpy's linear percentiles over all samples; zeros when there is none."""
        if not len(seconds):
            return cls(0.0, 0.0, 0.0, tuple((p, 0.0) for p in percentiles))
        found = np.percentile(seconds, [50.0, *percentiles]) * 1000
        return cls(
            float(np.mean(seconds) * 1000),
            float(found[0]),
            float(np.std(seconds) * 1000),
            tuple(zip(percentiles, found[1:].tolist(), strict=True)),
            len(seconds),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What the console and the result JSON show. Throughputs are per second of ``duration_s``."""

    kind: str
    duration_s: float
    completed: int
    failed: int
    total_input: int
    total_output: int
    total_sequences: int
    request_throughput: float
    request_goodput: float | None
    output_throughput: float
    total_token_throughput: float
    sequence_throughput: float
    max_output_tokens_per_s: float
    max_concurrent_requests: int
    rtfx: float
    distributions: dict[str, Distribution]
    latencies: Latencies = field(repr=False)
    output_lens: Ints = field(repr=False)


def summarize(
    columns: RecordColumns,
    *,
    duration_s: float,
    percentiles: Sequence[float],
    goodput_ms: dict[str, float] | None = None,
    kind: str = "generation",
    counted: Ints | None = None,
    folded: Folded | None = None,
) -> Summary:
    """All of vLLM's numbers. ``goodput_ms``: objectives by name; ``counted``: the tokenizer's counts of texts (-1 for none);
    ``folded``: what the store no longer holds exactly."""
    lens = output_lengths(columns, counted) if kind == "generation" else np.zeros(len(columns), np.int64)
    found = latencies(columns, lens, kind)
    if folded is not None:
        exact = ~folded.mask(columns)[found.itl_row]
        found = replace(found, itl_s=found.itl_s[exact], itl_row=found.itl_row[exact])
    ok = found.ok
    completed = int(np.count_nonzero(ok))
    total_input = int(columns.ints["prompt_len"][ok].sum())
    if kind == "pooling":
        served = columns.ints["input_tokens"]
        total_input = int(np.where(served >= 0, served, columns.ints["prompt_len"])[ok].sum())
    total_output = int(lens.sum())
    peak_tokens, peak_requests = one_second_peaks(columns, found, folded) if kind == "generation" else (0.0, 0)
    queue = columns.floats["client_queue_time"]
    waited = np.where(np.isnan(queue), 0.0, queue)[ok]
    per = (lambda total: total / duration_s) if duration_s > 0 else (lambda total: 0.0)
    sequences = int(columns.ints["num_sequences"][ok].sum())
    return Summary(
        kind=kind,
        duration_s=duration_s,
        completed=completed,
        failed=len(columns) - completed,
        total_input=total_input,
        total_output=total_output,
        total_sequences=sequences,
        request_throughput=per(completed),
        request_goodput=per(int(np.count_nonzero(good(found, goodput_ms)))) if goodput_ms else None,
        output_throughput=per(total_output),
        total_token_throughput=per(total_input + total_output),
        sequence_throughput=per(sequences),
        max_output_tokens_per_s=peak_tokens,
        max_concurrent_requests=peak_requests,
        rtfx=per(float(columns.floats["audio_s"][ok].sum())),
        distributions={
            "ttft": Distribution.of(_some(found.ttft_s), percentiles),
            "tpot": Distribution.of(_some(found.tpot_s), percentiles),
            "itl": _itl(found.itl_s, percentiles, folded),
            "e2el": Distribution.of(_some(found.e2el_s), percentiles),
            "client_queue_time": Distribution.of(waited, percentiles),
            "e2el_including_client_queue": Distribution.of(found.e2el_s[ok] + waited, percentiles),
        },
        latencies=found,
        output_lens=lens,
    )


def _itl(exact_s: Floats, percentiles: Sequence[float], folded: Folded | None) -> Distribution:
    """With a histogram for what was folded: each percentile within 0.1%."""
    if folded is None:
        return Distribution.of(exact_s, percentiles)
    middles, counts = folded.gaps.values()
    values = np.concatenate([exact_s, middles])
    weights = np.concatenate([np.ones(len(exact_s), np.int64), counts])
    if not len(values):
        return Distribution.of(exact_s, percentiles)
    order = np.argsort(values, kind="stable")
    values, upto = values[order], np.cumsum(weights[order])
    n = int(upto[-1])
    mean = float(np.average(values, weights=weights[order]))
    std = math.sqrt(float(np.average((values - mean) ** 2, weights=weights[order])))
    # numpy's linear rule: between the order statistics around p/100 · (n − 1).
    at = np.array([50.0, *percentiles]) / 100 * (n - 1)
    low = values[np.searchsorted(upto, np.floor(at), side="right")]
    high = values[np.searchsorted(upto, np.ceil(at), side="right")]
    found = ((low + (high - low) * (at - np.floor(at))) * 1000).tolist()
    return Distribution(mean * 1000, found[0], std * 1000, tuple(zip(percentiles, found[1:], strict=True)), n)


def good(found: Latencies, goodput_ms: dict[str, float] | None) -> NDArray[np.bool_]:
    """Whether each request succeeded and met every objective (bool, shape (n,)). The TPOT of a single token counts as 0."""
    met = found.ok.copy()
    values = {"ttft": found.ttft_s, "tpot": np.nan_to_num(found.tpot_s, nan=0.0), "e2el": found.e2el_s}
    for name, limit in (goodput_ms or {}).items():
        with np.errstate(invalid="ignore"):
            met &= values[name] <= limit / 1000
    return met


def one_second_peaks(columns: RecordColumns, found: Latencies, folded: Folded | None = None) -> tuple[float, int]:
    """(token events in the fullest second, requests that touch the fullest second), seconds counted from the earliest start."""
    ok = found.ok & ~np.isnan(found.e2el_s)
    if not np.any(ok):
        return 0.0, 0
    start = columns.floats["start_time"]
    first = start[ok].min()
    seconds = math.ceil(float((start[ok] + found.e2el_s[ok]).max() - first)) + 1
    events = np.diff(columns.token_offsets)
    exact = ok if folded is None else ok & ~folded.mask(columns)
    times = columns.token_times[np.repeat(exact, events)]
    tokens = np.bincount(np.floor(times - first).astype(np.int64), minlength=seconds)
    if folded is not None:
        for place, count in folded.bins.items():
            tokens[min(seconds - 1, max(0, int((place + 0.5) * BIN_S - first)))] += count
    begin = np.floor(start[ok] - first).astype(np.int64)
    end = np.floor(start[ok] + found.e2el_s[ok] - first).astype(np.int64)
    change = np.zeros(seconds + 1, np.int64)
    np.add.at(change, begin, 1)
    np.add.at(change, end + 1, -1)
    return float(tokens.max()), int(np.cumsum(change).max())


def _some(values: Floats) -> Floats:
    return values[~np.isnan(values)]
