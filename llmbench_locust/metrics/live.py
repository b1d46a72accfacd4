"""Live statistics of the run on the master: fed with counters and finished requests, read by the
web page and Prometheus.

No work is done per chunk: client processes count and report a few times a second, and the reports
are added here (`Tally`). After the run, the result document's exact figures replace the live ones,
whose percentiles are accurate to 1%.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.json_values import json_value, number
from llmbench_locust.metrics.latencies import LATENCIES
from llmbench_locust.metrics.live_histogram import Samples, bounds_ms
from llmbench_locust.metrics.live_series import HEAT_STEP
from llmbench_locust.metrics.live_tally import Tally
from llmbench_locust.records import RecordColumns

#: Maximum number of buckets in one snapshot.
MOST_ROWS = 60


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
        self._tally = Tally(self.goodput_ms, "generation")

    # --- the life of a run

    def reset(self, run_info: Json) -> None:
        """Start a new run. ``run_info`` is shown unchanged; its "goodput_ms" and "percentiles", if
        given, replace ours; its "kind" is the backend's ("pooling" has only E2EL).
        """
        if run_info.get("goodput_ms") is not None:
            self.goodput_ms = dict(run_info["goodput_ms"])
        if run_info.get("percentiles"):
            self.percentiles = tuple(run_info["percentiles"])
        self.info = {k: json_value(v) for k, v in run_info.items()}
        self.run += 1
        self.state, self.message = "preparing", ""
        self.document = self.audit = None
        self._tally = Tally(self.goodput_ms, str(self.info.get("kind") or "generation"))

    def preparing(self) -> None:
        """A run was requested; `reset` follows. No effect during another run."""
        if self.state != "running":
            self.state, self.message = "preparing", ""

    def waiting(self, message: str) -> None:
        """The server is not ready yet; ``message`` says what the run waits for, and why."""
        self.state, self.message = "waiting", message

    def begin(self) -> None:
        self.state, self.message = "running", ""

    def failed(self, message: str) -> None:
        """The run could not begin, or failed: the page shows why."""
        self.state, self.message = "failed", message

    def finish(self, document: Json | None, audit: Json | None) -> None:
        """The run is over. ``document``: the result JSON; ``audit``: of `metrics.audit.verdict`."""
        if document is None and audit is None and self.state != "running":
            return  # nothing ran: keeps the state of a run that is being prepared
        self.state = "finished"
        self.document, self.audit = document, audit
        self.on_end()

    # --- input

    def counters(self, counters: Json, now_s: float | None = None) -> None:
        self._tally.counters(counters, now_s)

    def server(self, now_s: float, values: Mapping[str, float]) -> None:
        """Add the metrics pages' values at ``now_s`` (`perf_counter`)."""
        self._tally.server(now_s, values)

    def add(self, columns: RecordColumns) -> None:
        self._tally.add(columns)

    # --- output

    @property
    def elapsed_s(self) -> float:
        """Time until the last report; the document's duration once there is one."""
        if self.document is not None and isinstance(self.document.get("duration"), (int, float)):
            return float(self.document["duration"])
        tally = self._tally
        if math.isnan(tally.start_s):
            return 0.0
        told = tally.told_s - tally.start_s
        return max(told if told == told else 0.0, tally.series.end_s)

    def totals(self) -> Json:
        """Running totals under the result's keys, and gauges; rates are None at the very start.
        The result's own values replace them when there is one.
        """
        tally, elapsed = self._tally, self.elapsed_s
        rate = (lambda n: n / elapsed) if elapsed > 0 else (lambda n: None)
        found: Json = {
            "offered": int(tally.last["offered"]),
            "sent": int(tally.last["sent"]),
            "completed": tally.ok,
            "failed": tally.failed,
            "cancelled": tally.cancelled,
            "in_flight": tally.in_flight if self.state == "running" else 0,
            "waiting": tally.waiting if self.state == "running" else 0,
            "duration": elapsed,
            "total_input_tokens": tally.input_tokens,
            "total_output_tokens": tally.output_tokens,
            "token_events": int(tally.last["token_events"]),
            "request_throughput": rate(tally.ok),
            "request_goodput": rate(tally.good) if self.goodput_ms else None,
            "output_throughput": rate(tally.output_tokens),
            "total_token_throughput": rate(tally.input_tokens + tally.output_tokens),
            "max_concurrent_requests": tally.peak_in_flight,
        }
        final = self.document or {}
        return found | {key: final[key] for key in found if number(final.get(key)) is not None}

    def slo(self) -> list[Json]:
        """By objective: limit, number of successful requests that met it, and their share of all
        requests with an outcome.
        """
        tally = self._tally
        done = tally.ok + tally.failed
        rows = [(name, limit, tally.met[name]) for name, limit in self.goodput_ms.items()]
        every = [("all", None, tally.good)] if rows else []
        final = (self.document or {}).get("llmbench", {}).get("slo_attainment") or {}
        found = []
        for name, limit, met in (*rows, *every):
            share = final.get(name, met / done if done else None)
            met = met if share is None else round(share * done)
            row = {"metric": name, "limit_ms": limit, "met": met, "of": done, "share": share}
            found.append(row)
        return found

    def snapshot(self, since: int = 0, most: int = MOST_ROWS) -> Json:
        """All that the page shows, as plain JSON-able values; docs/web.md describes every field.

        ``since``: the "version" of an earlier snapshot of the same "run"; the series then hold only
        later changes (nothing if negative). They are limited to ``most`` buckets, so that the
        event loop is not blocked; "more" says that there are others to fetch.
        """
        tally, totals = self._tally, self.totals()
        rows, version = tally.series.rows(since, most)
        live = {name: s.figures(self.percentiles) for name, s in tally.samples.items()}
        return {
            "run": self.run,
            "state": self.state,
            "message": self.message,
            "version": version,
            "more": version < tally.series.version,
            "info": self.info,
            "latency_names": {row.key: row.short for row in LATENCIES},
            "objectives_ms": self.goodput_ms,
            "totals": {k: json_value(v) for k, v in totals.items()},
            "summary": figure_rows(
                {k: v for k, v in totals.items() if k not in _OF_GENERATION or not self.pooling},
                self.document,
            ),
            "latency": latency_rows(live, self.percentiles, self.document),
            "slo": self.slo(),
            "errors": [
                {"kind": kind, "count": count, "example": tally.examples.get(kind, "")}
                for kind, count in sorted(tally.errors.items(), key=lambda e: -e[1])
            ],
            "audit": self.audit_now(),
            "validity": (self.document or {}).get("llmbench", {}).get("validity"),
            "width_s": tally.series.width_s,
            "heat_rows_ms": _HEAT_ROWS_MS,
            "series": rows,
        }

    @property
    def pooling(self) -> bool:
        """Whether the responses have no tokens."""
        return self.info.get("kind") == "pooling"

    def audit_now(self) -> Json:
        """The audit as in `metrics.audit.verdict`; "client_limited" is None until the end."""
        if self.audit is not None:
            shown: Json = json_value(self.audit)
            return shown
        figures: Json = {"client_limited": None, "reasons": []}
        for kind, samples in self._tally.lags.items():
            found = samples.figures((50.0, 99.0))
            figures[f"{kind}_lag_ms"] = {
                name: found.get(name) for name in ("mean", "p50", "p99", "max")
            }
        figures["cpu_fraction"] = {k: round(v, 4) for k, v in self._tally.cpu.items()}
        return figures

    def histogram(self, name: str) -> tuple[list[float], list[int], float]:
        """A latency's upper bounds (s), samples at or below each, and the sum (s)."""
        bounds, ends = bounds_ms()
        samples = self.samples[name]
        cumulated = np.concatenate(([0], np.cumsum(samples.counts)))
        return (bounds / 1000.0).tolist(), cumulated[ends].tolist(), samples.sum_ms / 1000.0

    @property
    def samples(self) -> dict[str, Samples]:
        """The samples of each latency, by name."""
        return self._tally.samples

    @property
    def errors(self) -> dict[str, int]:
        return dict(self._tally.errors)


#: Lower edges of the rows of the heat map, ms.
_HEAT_ROWS_MS: list[float] = [
    float(f"{10.0 ** (-3 + i * HEAT_STEP / 120):.4g}") for i in range(1200 // HEAT_STEP)
]


#: key of the result document → (name, unit). The order is the table's.
FIGURES = {
    "completed": ("Successful requests", ""),
    "failed": ("Failed requests", ""),
    "duration": ("Benchmark duration", "s"),
    "total_input_tokens": ("Total input tokens", ""),
    "total_output_tokens": ("Total generated tokens", ""),
    "request_throughput": ("Request throughput", "req/s"),
    "request_goodput": ("Request goodput", "req/s"),
    "output_throughput": ("Output token throughput", "tok/s"),
    "total_token_throughput": ("Total token throughput", "tok/s"),
    "max_output_tokens_per_s": ("Peak output token throughput", "tok/s"),
    "max_concurrent_requests": ("Peak concurrent requests", ""),
}


_OF_GENERATION = ("total_output_tokens", "output_throughput", "max_concurrent_requests")


def figure_rows(totals: Json, document: Json | None) -> list[Json]:
    """``{key, name, unit, value}`` of each known figure; the document's values take precedence."""
    rows = []
    for key, (name, unit) in FIGURES.items():
        value = number(document.get(key)) if document is not None else None
        if value is None:
            value = number(totals.get(key))
        if value is not None:
            rows.append({"key": key, "name": name, "unit": unit, "value": value})
    return rows


def latency_rows(
    live: dict[str, dict[str, float]], percentiles: tuple[float, ...], document: Json | None
) -> list[Json]:
    """``{key, name, unit: "ms", mean, median, std, max, percentiles: {"p99": …}}`` for each latency
    that has samples.

    ``live``: `Samples.figures` by latency.
    """
    rows = []
    for key, name in ((row.key, row.name) for row in LATENCIES):
        figures = dict(live.get(key, {}))
        for stat in ("mean", "median", "std", *(f"p{q:g}" for q in percentiles)):
            final = number(document.get(f"{stat}_{key}_ms")) if document is not None else None
            # vLLM's document says 0 if there is no sample.
            if final is not None and (final or live.get(key)):
                figures[stat] = final
        if not figures:
            continue
        row: Json = {"key": key, "name": name, "unit": "ms"}
        row |= {stat: number(figures.get(stat)) for stat in ("mean", "median", "std", "max")}
        row["percentiles"] = {f"p{q:g}": number(figures.get(f"p{q:g}")) for q in percentiles}
        rows.append(row)
    return rows
