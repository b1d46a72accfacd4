"""Computes latencies from raw times, one value per request (or gap): arrays in, arrays out, all in
seconds.

TTFT = first token event − start. TTFO = first token event of the answer, after reasoning − start
(the TTFT without reasoning). E2EL = last token event − start (pooling: end − start). ITL = gaps
between consecutive token events. TPOT = (E2EL − TTFT) / (output tokens − 1), only for more than one
token. Failed requests are excluded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.tokens import inner_events
from llmbench_locust.records import RecordColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of all requests; NaN if missing. ``ok``: bool, shape (n,); ``itl_s``: float64,
    shape (n_gaps,), of successful requests whose events are all kept, in the order of the rows.
    """

    ok: NDArray[np.bool_]
    ttft_s: Floats
    e2el_s: Floats
    tpot_s: Floats
    itl_s: Floats
    ttfo_s: Floats

    @property
    def reasoned(self) -> bool:
        """Whether any answer began after its first token; else the TTFO equals the TTFT."""
        return bool(np.any(self.ttfo_s > self.ttft_s))


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How a latency is displayed. ``title``: as in vLLM's table; ``stem``: of its name in /metrics,
    with its ``help``. ``of``: its samples in seconds, NaN if a request has none.
    """

    key: str
    title: str
    stem: str
    help: str
    of: Callable[[Latencies], Floats]

    @property
    def short(self) -> str:
        return self.key.upper()

    @property
    def name(self) -> str:
        """Its title and short name, for pages: Time to first token (TTFT)."""
        return f"{self.title.partition(' (')[0].capitalize()} ({self.short})"


#: In display order.
LATENCIES = (
    LatencyRow(
        "ttft",
        "Time to First Token",
        "time_to_first_token",
        "Time from sending a request to its first token event.",
        lambda found: found.ttft_s,
    ),
    LatencyRow(
        "ttfo",
        "Time to First Answer Token",
        "time_to_first_answer_token",
        "Time from sending a request to the first token event of its answer, after reasoning.",
        lambda found: found.ttfo_s,
    ),
    LatencyRow(
        "tpot",
        "Time per Output Token (excl. 1st token)",
        "time_per_output_token",
        "Mean time per output token after the first, one sample per request.",
        lambda found: found.tpot_s,
    ),
    LatencyRow(
        "itl",
        "Inter-token Latency",
        "inter_token_latency",
        "Time between two consecutive token events.",
        lambda found: found.itl_s,
    ),
    LatencyRow(
        "e2el",
        "End-to-end Latency",
        "e2e_request_latency",
        "Time from sending a request to its last token event.",
        lambda found: found.e2el_s,
    ),
)
KEYS = tuple(row.key for row in LATENCIES)


def latencies(
    columns: RecordColumns,
    output_lens: Ints,
    kind: str = "generation",
    exact: NDArray[np.bool_] | None = None,
) -> Latencies:
    """``output_lens``: tokens of each response (int64, shape (n,)). ``exact``: rows whose events
    are all kept (None: all).
    """
    n = len(columns)
    start, offsets, times = columns.floats["start_time"], columns.token_offsets, columns.token_times
    events = np.diff(offsets)
    ok = columns.success
    nan = np.full(n, np.nan)
    if kind == "pooling":
        e2el = np.where(ok, columns.floats["end_time"] - start, np.nan)
        return Latencies(ok, nan, e2el, nan.copy(), np.empty(0), nan.copy())
    has = ok & (events > 0)
    # A response in one piece has no token events, only an end.
    ttft = np.where(ok & ~has, columns.floats["first_token_time"] - start, np.nan)
    e2el = np.where(ok & ~has, columns.floats["end_time"] - start, np.nan)
    tpot = nan
    ttft[has] = times[offsets[:-1][has]] - start[has]
    e2el[has] = times[offsets[1:][has] - 1] - start[has]
    long = has & (output_lens > 1)
    tpot[long] = (e2el[long] - ttft[long]) / (output_lens[long] - 1)
    answer = columns.floats["first_answer_time"] - start
    thought = columns.ints["reasoning_tokens"] > 0
    ttfo = np.where(has & (thought | ~np.isnan(answer)), answer, ttft)
    itl = gaps(columns, ok if exact is None else ok & exact)
    return Latencies(ok, ttft, e2el, tpot, itl, np.where(ok, ttfo, np.nan))


def gaps(columns: RecordColumns, rows: NDArray[np.bool_]) -> Floats:
    """Gaps between consecutive token events of the chosen rows in seconds, row by row."""
    if len(columns.token_times) < 2:
        return np.empty(0)
    return np.diff(columns.token_times)[inner_events(columns, rows)[1:]]


def input_lengths(columns: RecordColumns) -> Ints:
    """Tokens of each prompt: the server's count as in vLLM, else ours."""
    served = columns.ints["input_tokens"]
    return np.where(served >= 0, served, columns.ints["prompt_len"])


def output_lengths(columns: RecordColumns, counted: Ints | None = None) -> Ints:
    """Tokens of each response: the server's, else ``counted`` (-1: none), else 1; 0 if failed."""
    lens = columns.ints["output_len"].copy()
    if counted is not None:
        lens = np.where(lens <= 0, counted, lens)
    lens = np.where(lens < 0, 1, lens)
    return np.where(columns.success, lens, 0)
