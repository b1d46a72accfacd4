"""What the run looks like now, on the master: fed with counters and finished requests, read by the
web page and Prometheus.

Nothing here happens for a chunk: the client's processes count, report a few times a second, and
those reports end here. Memory is bounded whatever the length of the run. When the run is over, the
result document's exact figures take the place of the live ones, whose percentiles are right to 1%.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.json_values import json_value
from llmbench_locust.metrics.latencies import (
    LATENCIES,
    Latencies,
    input_lengths,
    latencies,
    output_lengths,
)
from llmbench_locust.metrics.live_histogram import Samples, bins_of, bounds_ms
from llmbench_locust.metrics.live_rows import figure_rows, latency_rows
from llmbench_locust.metrics.live_series import HEAT_STEP, Series
from llmbench_locust.metrics.vllm import good
from llmbench_locust.records import RecordColumns

#: Kinds of error that are counted by name, and the length of the example kept of each.
MOST_KINDS = 50
EXAMPLE_CHARS = 400
#: Buckets in one snapshot.
MOST_ROWS = 60

_TOTALS = ("offered", "sent", "completed", "token_events")


class LiveStats:
    """``goodput_ms``: objectives by latency name ("ttft", "tpot", "e2el"), ms. ``percentiles``: of
    the summary, in 0..100. ``on_end`` is called when a run has finished.

    The order of calls is `reset`, then `counters` and `add` in any order, then `finish` (or
    `failed`); `snapshot` at any time.
    """

    def __init__(self, goodput_ms: dict[str, float], percentiles: Iterable[float]) -> None:
        self.goodput_ms = dict(goodput_ms)
        self.percentiles = tuple(percentiles)
        self.run = 0
        self.state = "idle"
        self.message = ""
        self.info: Json = {}
        self.experiment: Json | None = None  # of several runs together
        self.document: Json | None = None
        self.audit: Json | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._clear()

    def _clear(self) -> None:
        self.series = Series()
        self.samples = {row.key: Samples() for row in LATENCIES}
        self.lags = {"send": Samples(), "loop": Samples()}
        self._start_s = float("nan")
        self._told_s = float("nan")
        self._last = dict.fromkeys(_TOTALS, 0.0)
        self._in_flight = self._waiting = 0
        self._peak_in_flight = 0
        self._cpu: dict[str, float] = {}
        self._ok = self._failed = 0
        self._input_tokens = self._output_tokens = 0
        self._good = 0
        self._met = dict.fromkeys(self.goodput_ms, 0)
        self._errors: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._live_ttft = False

    # --- the life of a run
    # ---------------------------------------------------------------------------------------

    def reset(self, run_info: Json) -> None:
        """A new run. ``run_info`` is shown as it is; its "goodput_ms" and "percentiles", when
        given, replace ours, its "kind" is the backend's ("pooling" has E2EL only).
        """
        if run_info.get("goodput_ms") is not None:
            self.goodput_ms = dict(run_info["goodput_ms"])
        if run_info.get("percentiles"):
            self.percentiles = tuple(run_info["percentiles"])
        self.info = {k: json_value(v) for k, v in run_info.items()}
        self.run += 1
        self.state, self.message = "preparing", ""
        self.document = self.audit = None
        self._clear()

    def preparing(self) -> None:
        """A run was asked for; `reset` follows. No effect while another run goes on."""
        if self.state != "running":
            self.state, self.message = "preparing", ""

    def waiting(self, message: str) -> None:
        """The server is not ready yet; ``message`` says what is waited for, and why."""
        self.state, self.message = "waiting", message

    def begin(self) -> None:
        """The clock starts."""
        self.state, self.message = "running", ""

    def failed(self, message: str) -> None:
        """The run could not begin, or broke down: the page shows why."""
        self.state, self.message = "failed", message

    def finish(self, document: Json | None, audit: Json | None) -> None:
        """The run is over. ``document``: the result JSON; ``audit``: of `metrics.audit.verdict`."""
        if document is None and audit is None and self.state != "running":
            return  # nothing ran: a run that is being prepared stays so
        self.state = "finished"
        self.document, self.audit = document, audit
        self.on_end()

    # --- in

    def counters(self, counters: Json, now_s: float | None = None) -> None:
        """One report: monotonic totals (offered, sent, completed, token_events), gauges (in_flight,
        waiting), and what is new since the last one (ttft_ms, send_lag_ms, loop_lag_ms: arrays of
        ms; the lags also as {p50, p99, max}); cpu by process.

        ``start_s``, when given, is the start of the arrivals; ``now_s`` the time of the report
        (both `perf_counter`).
        """
        now_s = perf_counter() if now_s is None else now_s
        if (start_s := counters.get("start_s")) is not None and math.isfinite(start_s):
            self._start_s = start_s
        elif math.isnan(self._start_s) and (counters.get("offered") or counters.get("sent")):
            self._start_s = now_s if math.isnan(self._told_s) else self._told_s
        before_s, self._told_s = self._told_s, now_s
        self._in_flight = int(counters.get("in_flight", self._in_flight))
        self._waiting = int(counters.get("waiting", self._waiting))
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        self._cpu |= {str(k): float(v) for k, v in counters.get("cpu", {}).items()}
        if math.isnan(self._start_s) or now_s < self._start_s:
            return
        now, before = (
            now_s - self._start_s,
            max(before_s - self._start_s, 0.0) if before_s == before_s else 0.0,
        )
        for name in _TOTALS:
            total = float(counters.get(name, self._last[name]))
            # A worker that was lost takes its counts with it: a total that fell is no negative
            # rate.
            self.series.spread(
                "tokens" if name == "token_events" else name,
                max(total - self._last[name], 0.0),
                before,
                now,
            )
            self._last[name] = max(total, self._last[name])
        self.series.gauge("in_flight", now, self._in_flight)
        self.series.gauge("waiting", now, self._waiting)
        if self._cpu:
            self.series.gauge("cpu", now, max(self._cpu.values()), highest=True)
        for kind in ("send", "loop"):
            self._lag(kind, counters.get(f"{kind}_lag_ms"), now)
        ttft = counters.get("ttft_ms")
        if ttft is not None and len(ttft):
            self._live_ttft = True
            values = np.asarray(ttft, np.float64)
            self._observe("ttft", values, np.full(len(values), now))

    def _lag(self, kind: str, lag_ms: object, now: float) -> None:
        if isinstance(lag_ms, dict):
            values = np.array(
                [
                    v
                    for v in (lag_ms.get("p50"), lag_ms.get("p99"), lag_ms.get("max"))
                    if v is not None
                ],
                np.float64,
            )
        else:
            values = np.asarray(lag_ms if lag_ms is not None else (), np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            values = np.maximum(values, 0.0)
            self.lags[kind].add(values, bins_of(values))
            self.series.gauge(
                f"{kind}_lag_p99", now, float(np.percentile(values, 99)), highest=True
            )
            self.series.gauge(f"{kind}_lag_max", now, float(values.max()), highest=True)

    def add(self, columns: RecordColumns) -> None:
        """Requests that have their outcome."""
        if len(columns) == 0:
            return
        starts = columns.floats["start_time"]
        if math.isnan(self._start_s) and not np.all(np.isnan(starts)):
            self._start_s = float(np.nanmin(np.fmin(starts, columns.floats["due_time"])))
        ok = columns.success
        self._ok += int(ok.sum())
        self._failed += int((~ok).sum())
        self._count_errors(columns, ~ok)
        self._input_tokens += int(input_lengths(columns)[ok].sum())
        events = np.diff(columns.token_offsets)
        # Where the server told no count, the tokenizer counts after the run; until then an event is
        # a token.
        tokens = output_lengths(columns, events)
        found = latencies(columns, tokens, str(self.info.get("kind") or "generation"))
        self._output_tokens += int(tokens.sum())
        self._judge(found)
        if math.isnan(self._start_s):
            return
        ends = (
            np.where(np.isnan(columns.floats["end_time"]), starts, columns.floats["end_time"])
            - self._start_s
        )
        failed_at = ends[~ok & ~np.isnan(ends)]
        self.series.add_at("failed", failed_at, np.ones(len(failed_at)))
        self._observe("e2el", found.e2el_s * 1000.0, ends)
        self._observe("tpot", found.tpot_s * 1000.0, ends)
        if not self._live_ttft:
            self._observe(
                "ttft", found.ttft_s * 1000.0, columns.floats["first_token_time"] - self._start_s
            )
        inner = np.ones(len(columns.token_times), np.bool_)
        inner[columns.token_offsets[:-1][events > 0]] = False
        ended = columns.token_times[inner & np.repeat(ok, events)]
        self._observe("itl", found.itl_s * 1000.0, ended - self._start_s)
        self._correct_tokens(columns, tokens, events)

    def _correct_tokens(
        self, columns: RecordColumns, tokens: NDArray[np.int64], events: NDArray[np.int64]
    ) -> None:
        """Correct the live counter, which took one token an event, by what the events carried."""
        other = columns.success & (tokens != events) & (events > 0)
        if other.any():
            extra = np.repeat(np.where(other, tokens / np.maximum(events, 1) - 1.0, 0.0), events)
            self.series.add_at("tokens", columns.token_times - self._start_s, extra)

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
                self._met[name] += int(np.count_nonzero(good(found, {name: limit_ms})))
            self._good += int(np.count_nonzero(good(found, self.goodput_ms)))

    def _count_errors(self, columns: RecordColumns, failed: NDArray[np.bool_]) -> None:
        for i in np.flatnonzero(failed).tolist():
            kind = columns.texts["error_kind"][i] or "unknown"
            if kind not in self._errors and len(self._errors) >= MOST_KINDS:
                kind = "other"
            self._errors[kind] = self._errors.get(kind, 0) + 1
            self._examples.setdefault(kind, columns.texts["error"][i][:EXAMPLE_CHARS])

    # --- out

    @property
    def elapsed_s(self) -> float:
        """Of the run, until the last report; the document's duration when there is one."""
        if self.document is not None and isinstance(self.document.get("duration"), (int, float)):
            return float(self.document["duration"])
        if math.isnan(self._start_s):
            return 0.0
        told = self._told_s - self._start_s
        return max(told if told == told else 0.0, self.series.end_s)

    def totals(self) -> Json:
        """Running totals under the result's keys, and gauges; a rate is None at the very start."""
        elapsed = self.elapsed_s
        rate = (lambda n: n / elapsed) if elapsed > 0 else (lambda n: None)
        return {
            "offered": int(self._last["offered"]),
            "sent": int(self._last["sent"]),
            "completed": self._ok,
            "failed": self._failed,
            "in_flight": self._in_flight if self.state == "running" else 0,
            "waiting": self._waiting if self.state == "running" else 0,
            "duration": elapsed,
            "total_input_tokens": self._input_tokens,
            "total_output_tokens": self._output_tokens,
            "token_events": int(self._last["token_events"]),
            "request_throughput": rate(self._ok),
            "request_goodput": rate(self._good) if self.goodput_ms else None,
            "output_throughput": rate(self._output_tokens),
            "total_token_throughput": rate(self._input_tokens + self._output_tokens),
            "max_concurrent_requests": self._peak_in_flight,
        }

    def slo(self) -> list[Json]:
        """By objective: limit, how many successful requests met it, and their share of all that
        have an outcome.
        """
        done = self._ok + self._failed
        rows = [
            {
                "metric": name,
                "limit_ms": limit,
                "met": self._met[name],
                "of": done,
                "share": self._met[name] / done if done else None,
            }
            for name, limit in self.goodput_ms.items()
        ]
        if rows:
            rows.append(
                {
                    "metric": "all",
                    "limit_ms": None,
                    "met": self._good,
                    "of": done,
                    "share": self._good / done if done else None,
                }
            )
        return rows

    def snapshot(self, since: int = 0, most: int = MOST_ROWS) -> Json:
        """All that the page shows, as plain JSON-able values; docs/web.md describes every field.

        ``since``: the "version" of an earlier snapshot of the same "run"; the series then hold only
        what changed after it (nothing at all when it is negative). They are cut at ``most``, so
        that the event loop is not held up; "more" says that there are others to fetch.
        """
        totals = self.totals()
        rows, version = self.series.rows(since, most)
        live = {name: s.figures(self.percentiles) for name, s in self.samples.items()}
        return {
            "run": self.run,
            "state": self.state,
            "message": self.message,
            "version": version,
            "more": version < self.series.version,
            "info": self.info,
            "latency_names": {row.key: row.short for row in LATENCIES},
            "objectives_ms": self.goodput_ms,
            "totals": {k: json_value(v) for k, v in totals.items()},
            "summary": figure_rows(totals, self.document),
            "latency": latency_rows(live, self.percentiles, self.document),
            "slo": self.slo(),
            "errors": [
                {"kind": kind, "count": count, "example": self._examples.get(kind, "")}
                for kind, count in sorted(self._errors.items(), key=lambda e: -e[1])
            ],
            "audit": self.audit_now(),
            "width_s": self.series.width_s,
            "heat_rows_ms": _HEAT_ROWS_MS,
            "series": rows,
        }

    def audit_now(self) -> Json:
        """The audit as `metrics.audit.verdict` has it; during the run "client_limited" is None."""
        if self.audit is not None:
            shown: Json = json_value(self.audit)
            return shown
        figures: Json = {"client_limited": None, "reasons": []}
        for kind, samples in self.lags.items():
            found = samples.figures((50.0, 99.0))
            figures[f"{kind}_lag_ms"] = {
                name: found.get(name) for name in ("mean", "p50", "p99", "max")
            }
        figures["cpu_fraction"] = {k: round(v, 4) for k, v in self._cpu.items()}
        return figures

    def histogram(self, name: str) -> tuple[list[float], list[int], float]:
        """One latency: upper bounds (s), samples at or below each, the sum (s)."""
        bounds, ends = bounds_ms()
        samples = self.samples[name]
        cumulated = np.concatenate(([0], np.cumsum(samples.counts)))
        return (bounds / 1000.0).tolist(), cumulated[ends].tolist(), samples.sum_ms / 1000.0

    @property
    def errors(self) -> dict[str, int]:
        """Failed requests by kind."""
        return dict(self._errors)


#: Lower edge of each row of the heat map, ms.
_HEAT_ROWS_MS: list[float] = [
    float(f"{10.0 ** (-3 + i * HEAT_STEP / 120):.4g}") for i in range(1200 // HEAT_STEP)
]
