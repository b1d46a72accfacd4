"""The figures of `vllm bench serve` by its definitions, including its quirks. Pure.

As in vLLM, peaks are counted in whole seconds from the earliest start, and a metric without samples
is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.histogram import SLICE
from llmbench_locust.metrics.latencies import (
    LATENCIES,
    Floats,
    Ints,
    Latencies,
    input_lengths,
    latencies,
    output_lengths,
)
from llmbench_locust.metrics.store import Folded
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
        """numpy's linear percentiles over all samples; zeros without samples."""
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
    """The figures of console and result JSON. Throughputs are per second of ``duration_s``."""

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

    @property
    def requests(self) -> int:
        """The number of requests that were not cancelled."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class Asked:
    """The requested figures. ``goodput_ms``: objectives by name."""

    percentiles: Sequence[float]
    goodput_ms: dict[str, float] = field(default_factory=dict)
    kind: str = "generation"


def summarize(
    columns: RecordColumns,
    asked: Asked,
    *,
    duration_s: float,
    counted: Ints | None = None,
    folded: Folded | None = None,
) -> Summary:
    """All of vLLM's figures. ``counted``: the tokenizer's counts of texts (-1 for none);
    ``folded``: what the store has aggregated.
    """
    percentiles, goodput_ms = asked.percentiles, asked.goodput_ms
    generation = asked.kind == "generation"
    lens = output_lengths(columns, counted) if generation else np.zeros(len(columns), np.int64)
    exact = None if folded is None else ~folded.mask(columns)
    found = latencies(columns, lens, asked.kind, exact)
    ok = found.ok
    completed, total_output = int(np.count_nonzero(ok)), int(lens.sum())
    total_input = int(input_lengths(columns)[ok].sum())
    sequences = int(columns.ints["num_sequences"][ok].sum())
    peak_tokens, peak_requests = (
        one_second_peaks(columns, found, exact, folded) if generation else (0.0, 0)
    )
    waited = np.nan_to_num(columns.floats["client_queue_time"], nan=0.0)[ok]
    per = (lambda total: total / duration_s) if duration_s > 0 else (lambda total: 0.0)
    return Summary(
        kind=asked.kind,
        duration_s=duration_s,
        completed=completed,
        failed=int(np.count_nonzero(columns.failed)),
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
            **{r.key: Distribution.of(_some(r.of(found)), percentiles) for r in LATENCIES},
            "itl": _itl(found.itl_s, percentiles, folded),
            "client_queue_time": Distribution.of(waited, percentiles),
            "e2el_including_client_queue": Distribution.of(found.e2el_s[ok] + waited, percentiles),
        },
        latencies=found,
        output_lens=lens,
    )


def _itl(exact_s: Floats, percentiles: Sequence[float], folded: Folded | None) -> Distribution:
    """From a histogram if anything was aggregated: percentiles within 0.1%."""
    if folded is None:
        return Distribution.of(exact_s, percentiles)
    gaps = folded.gaps.copy()
    gaps.add(exact_s)
    if not gaps.total:
        return Distribution.of(exact_s, percentiles)
    found = [value * 1000 for value in gaps.percentiles([50.0, *percentiles])]
    percentiles_ms = tuple(zip(percentiles, found[1:], strict=True))
    return Distribution(gaps.mean_s * 1000, found[0], gaps.std_s * 1000, percentiles_ms, gaps.total)


def good(found: Latencies, goodput_ms: dict[str, float] | None) -> NDArray[np.bool_]:
    """Whether each request met every objective (bool, shape (n,)). TPOT of one token is 0."""
    met = found.ok.copy()
    values = {
        "ttft": found.ttft_s,
        "ttfo": found.ttfo_s,
        "tpot": np.nan_to_num(found.tpot_s, nan=0.0),
        "e2el": found.e2el_s,
    }
    for name, limit in (goodput_ms or {}).items():
        with np.errstate(invalid="ignore"):
            met &= values[name] <= limit / 1000
    return met


def one_second_peaks(
    columns: RecordColumns,
    found: Latencies,
    exact: NDArray[np.bool_] | None = None,
    folded: Folded | None = None,
) -> tuple[float, int]:
    """Maximum of (token events, active requests) in one-second bins from the first start."""
    ok = found.ok & ~np.isnan(found.e2el_s)
    if not np.any(ok):
        return 0.0, 0
    start = columns.floats["start_time"]
    first = float(start[ok].min())
    seconds = math.ceil(float((start[ok] + found.e2el_s[ok]).max() - first)) + 1
    rows = ok if exact is None else ok & exact
    tokens = _by_second(
        columns.token_times, np.repeat(rows, np.diff(columns.token_offsets)), first, seconds
    )
    if folded is not None:
        times, counts = folded.event_bins.middles()
        places = np.clip((times - first).astype(np.int64), 0, seconds - 1)
        tokens += np.bincount(places, weights=counts, minlength=seconds).astype(np.int64)
    begin = np.floor(start[ok] - first).astype(np.int64)
    end = np.floor(start[ok] + found.e2el_s[ok] - first).astype(np.int64)
    change = np.bincount(begin, minlength=seconds + 1) - np.bincount(end + 1, minlength=seconds + 1)
    return float(tokens.max()), int(np.cumsum(change).max())


def _by_second(times: Floats, chosen: NDArray[np.bool_], first_s: float, seconds: int) -> Ints:
    """Counts of chosen events in each second from ``first_s``, in pieces to save memory."""
    counts = np.zeros(seconds, np.int64)
    for begin in range(0, len(times), SLICE):
        part = times[begin : begin + SLICE][chosen[begin : begin + SLICE]]
        # As in vLLM, an event before the earliest start (of a converted clock) is not counted.
        places = np.floor(part - first_s).astype(np.int64)
        places = places[(places >= 0) & (places < seconds)]
        counts += np.bincount(places, minlength=seconds)
    return counts


def _some(values: Floats) -> Floats:
    return values[~np.isnan(values)]
