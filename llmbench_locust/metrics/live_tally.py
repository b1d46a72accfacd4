"""The sum of a run's reports so far, in bounded memory for any length of run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.metrics.latencies import (
    LATENCIES,
    Latencies,
    input_lengths,
    latencies,
    output_lengths,
)
from llmbench_locust.metrics.live_histogram import Samples, bins_of
from llmbench_locust.metrics.live_series import SERVER_GAUGES, Series
from llmbench_locust.metrics.tokens import inner_events
from llmbench_locust.metrics.vllm import good
from llmbench_locust.records import RecordColumns
from llmbench_locust.server_metrics.vocabulary import BY_NAME

#: Number of error kinds counted by name, and the length of the example kept for each.
MOST_KINDS = 50
EXAMPLE_CHARS = 400

_TOTALS = ("offered", "sent", "completed", "token_events")


class Tally:
    """``goodput_ms``: objectives in ms by latency ("ttft", "ttfo", "tpot", "e2el"). ``kind``: of
    the backend.
    """

    def __init__(self, goodput_ms: dict[str, float], kind: str) -> None:
        self.goodput_ms, self._kind = goodput_ms, kind
        self.series = Series()
        self.samples = {row.key: Samples() for row in LATENCIES}
        self.lags = {"send": Samples(), "loop": Samples()}
        self.start_s = float("nan")
        self.told_s = float("nan")
        self.last = dict.fromkeys(_TOTALS, 0.0)
        self.in_flight = self.waiting = 0
        self.peak_in_flight = 0
        self.cpu: dict[str, float] = {}
        self.ok = self.failed = self.cancelled = 0
        self.input_tokens = self.output_tokens = 0
        self.good = 0
        self.met = dict.fromkeys(goodput_ms, 0)
        self.errors: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self._live_ttft = False
        self._reasoned = False

    def counters(self, counters: Json, now_s: float | None = None) -> None:
        """Add a report: monotonic totals (offered, sent, completed, token_events), gauges
        (in_flight, waiting), new samples (ttft_ms, send_lag_ms, loop_lag_ms: arrays of ms); cpu by
        process.

        ``start_s``, if given, is the start of the arrivals; ``now_s`` is the time of the report
        (both `perf_counter`).
        """
        now_s = perf_counter() if now_s is None else now_s
        if (start_s := counters.get("start_s")) is not None and math.isfinite(start_s):
            self.start_s = start_s
        elif math.isnan(self.start_s) and (counters.get("offered") or counters.get("sent")):
            self.start_s = now_s if math.isnan(self.told_s) else self.told_s
        before_s, self.told_s = self.told_s, now_s
        self.in_flight = int(counters.get("in_flight", self.in_flight))
        self.waiting = int(counters.get("waiting", self.waiting))
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.cpu |= {str(k): float(v) for k, v in counters.get("cpu", {}).items()}
        if math.isnan(self.start_s) or now_s < self.start_s:
            return
        now = now_s - self.start_s
        before = 0.0 if math.isnan(before_s) else max(before_s - self.start_s, 0.0)
        for name in _TOTALS:
            total = float(counters.get(name, self.last[name]))
            # A lost worker's counts are lost, so a total can fall; a rate must not be negative.
            self.series.spread(
                "tokens" if name == "token_events" else name,
                max(total - self.last[name], 0.0),
                before,
                now,
            )
            self.last[name] = max(total, self.last[name])
        self.series.gauge("in_flight", now, self.in_flight)
        self.series.gauge("waiting", now, self.waiting)
        if self.cpu:
            self.series.gauge("cpu", now, max(self.cpu.values()), highest=True)
        for kind in ("send", "loop"):
            self._lag(kind, counters.get(f"{kind}_lag_ms"), now)
        ttft = counters.get("ttft_ms")
        if ttft is not None and len(ttft):
            self._live_ttft = True
            values = np.asarray(ttft, np.float64)
            self._observe("ttft", values, np.full(len(values), now))

    def _lag(self, kind: str, lag_ms: JsonValue, now: float) -> None:
        values = np.asarray(lag_ms if lag_ms is not None else (), np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            values = np.maximum(values, 0.0)
            self.lags[kind].add(values, bins_of(values))
            self.series.gauge(
                f"{kind}_lag_p99", now, float(np.percentile(values, 99)), highest=True
            )
            self.series.gauge(f"{kind}_lag_max", now, float(values.max()), highest=True)

    def server(self, now_s: float, values: Mapping[str, float]) -> None:
        """Gauges of the metrics pages, read at ``now_s``."""
        if not now_s >= self.start_s:
            return  # before the start of the arrivals, or before it is known
        for name, gauge in SERVER_GAUGES.items():
            if name in values:
                factor = 100 if BY_NAME[name].unit == "share" else 1
                self.series.gauge(gauge, now_s - self.start_s, values[name] * factor)

    def add(self, columns: RecordColumns) -> None:
        if len(columns) == 0:
            return
        starts = columns.floats["start_time"]
        if math.isnan(self.start_s) and not np.all(np.isnan(starts)):
            self.start_s = float(np.nanmin(np.fmin(starts, columns.floats["due_time"])))
        ok = columns.success
        self.ok += int(ok.sum())
        failed = columns.failed
        self.failed += int(failed.sum())
        self.cancelled += len(columns) - int((ok | failed).sum())
        self._count_errors(columns, failed)
        self.input_tokens += int(input_lengths(columns)[ok].sum())
        events = np.diff(columns.token_offsets)
        # Without counts from the server the tokenizer counts after the run; until then each event
        # counts as one token.
        tokens = output_lengths(columns, events)
        found = latencies(columns, tokens, self._kind)
        self.output_tokens += int(tokens.sum())
        self._judge(found)
        if math.isnan(self.start_s):
            return
        ends = (
            np.where(np.isnan(columns.floats["end_time"]), starts, columns.floats["end_time"])
            - self.start_s
        )
        failed_at = ends[failed & ~np.isnan(ends)]
        self.series.add_at("failed", failed_at, np.ones(len(failed_at)))
        self._observe("e2el", found.e2el_s * 1000.0, ends)
        self._observe("tpot", found.tpot_s * 1000.0, ends)
        self._reasoned = self._reasoned or found.reasoned
        if self._reasoned:
            answer_s = columns.floats["start_time"] + found.ttfo_s - self.start_s
            self._observe("ttfo", found.ttfo_s * 1000.0, answer_s)
        if not self._live_ttft:
            self._observe(
                "ttft", found.ttft_s * 1000.0, columns.floats["first_token_time"] - self.start_s
            )
        ended = columns.token_times[inner_events(columns, ok)]
        self._observe("itl", found.itl_s * 1000.0, ended - self.start_s)
        self._correct_tokens(columns, tokens, events)

    def _correct_tokens(
        self, columns: RecordColumns, tokens: NDArray[np.int64], events: NDArray[np.int64]
    ) -> None:
        """Correct the live counter, which counted one token per event."""
        other = columns.success & (tokens != events) & (events > 0)
        if other.any():
            extra = np.repeat(np.where(other, tokens / np.maximum(events, 1) - 1.0, 0.0), events)
            self.series.add_at("tokens", columns.token_times - self.start_s, extra)

    def _observe(
        self, name: str, values_ms: NDArray[np.float64], times_s: NDArray[np.float64]
    ) -> None:
        known = np.isfinite(values_ms) & np.isfinite(times_s)
        if not known.all():
            values_ms, times_s = values_ms[known], times_s[known]
        bins = bins_of(values_ms)
        self.samples[name].add(values_ms, bins)
        self.series.observe(name, times_s, bins)

    def _judge(self, found: Latencies) -> None:
        if self.goodput_ms:
            for name, limit_ms in self.goodput_ms.items():
                self.met[name] += int(np.count_nonzero(good(found, {name: limit_ms})))
            self.good += int(np.count_nonzero(good(found, self.goodput_ms)))

    def _count_errors(self, columns: RecordColumns, failed: NDArray[np.bool_]) -> None:
        for i in np.flatnonzero(failed).tolist():
            kind = columns.texts["error_kind"][i] or "unknown"
            if kind not in self.errors and len(self.errors) >= MOST_KINDS:
                kind = "other"
            self.errors[kind] = self.errors.get(kind, 0) + 1
            self.examples.setdefault(kind, columns.texts["error"][i][:EXAMPLE_CHARS])
