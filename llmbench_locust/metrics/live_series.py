"""Time series of a run in a bounded number of buckets: one second each at first, doubled whenever
the run outgrows them.

Each bucket has the version of its last change, so that a page fetches only changes, even if a long
request has just reported events of a minute ago.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.latencies import LATENCIES
from llmbench_locust.metrics.live_histogram import BINS, percentiles

BUCKETS = 600
#: Percentiles of each latency in `rows`.
WANTED = (50.0, 90.0, 99.0)
AMOUNTS = ("offered", "sent", "completed", "failed", "tokens")
GAUGES = (
    *("in_flight", "waiting", "send_lag_p99", "send_lag_max", "loop_lag_p99"),
    *("loop_lag_max", "cpu"),
)
#: Gauges of the server and its GPUs, by names of `server_metrics.vocabulary`; shares in percent.
SERVER_GAUGES = {
    "running": "server_running",
    "waiting": "server_waiting",
    "kv_cache_usage": "server_kv_cache",
    "gpu_power": "gpu_power",
    "gpu_utilization": "gpu_utilization",
}
#: Bins of the histogram per row of the heat map: 12 rows per decade.
HEAT_STEP = 10
#: Latest valid time; a later one comes from a broken clock.
_MOST_S = 1e8


class Series:
    """Times: seconds from the run's start; amounts: counts; latencies and lags: milliseconds."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        self.buckets = buckets
        self.width_s = 1.0
        self.used = 0
        self.version = 0
        self.end_s = 0.0
        self._changed = np.zeros(buckets, np.int64)
        self._amounts = {n: np.zeros(buckets, np.float64) for n in AMOUNTS}
        names = (*GAUGES, *SERVER_GAUGES.values())
        self._gauges = {n: np.full(buckets, np.nan) for n in names}
        self._counts: dict[str, NDArray[np.int32]] = {}
        self._found: dict[str, NDArray[np.float64]] = {}
        self._stale: dict[str, NDArray[np.bool_]] = {}

    # --- input

    def spread(self, name: str, amount: float, from_s: float, to_s: float) -> None:
        """Spread an amount evenly between two times, so that rates do not jump at a report."""
        to_s = min(max(to_s, 0.0), _MOST_S)
        from_s = min(max(from_s, 0.0), to_s)
        self._make_room(to_s)
        first, last = self._index(from_s), self._index(to_s)
        self._touch(slice(first, last + 1))
        if amount == 0:
            return
        edges = np.clip(np.arange(first, last + 2) * self.width_s, from_s, to_s)
        shares = np.diff(edges)
        shares = (
            shares / shares.sum() if to_s > from_s else np.eye(1, last - first + 1, last - first)[0]
        )
        self._amounts[name][first : last + 1] += amount * shares

    def add_at(self, name: str, times_s: NDArray[np.float64], amounts: NDArray[np.float64]) -> None:
        if len(times_s) == 0:
            return
        where = self._indexes(times_s)
        self._amounts[name] += np.bincount(where, amounts, self.buckets)
        self._touch(self._distinct(where))

    def gauge(self, name: str, at_s: float, value: float, *, highest: bool = False) -> None:
        """The latest value in its bucket, or the highest one."""
        self._make_room(at_s)
        values, i = self._gauges[name], self._index(at_s)
        values[i] = np.fmax(values[i], value) if highest else value
        self._touch(slice(i, i + 1))

    def observe(self, name: str, times_s: NDArray[np.float64], bins: NDArray[np.int64]) -> None:
        """Add latency samples by bin (`live_histogram.bins_of`), each at its time."""
        if len(times_s) == 0:
            return
        where = self._indexes(times_s)
        if name not in self._counts:
            self._counts[name] = np.zeros((self.buckets, BINS), np.int32)
            self._found[name] = np.full((self.buckets, len(WANTED)), np.nan)
            self._stale[name] = np.zeros(self.buckets, np.bool_)
        # Counted only over the affected buckets: several times faster.
        first = int(where.min())
        rows = int(where.max()) - first + 1
        found = np.bincount((where - first) * BINS + bins, minlength=rows * BINS)
        self._counts[name][first : first + rows] += found.reshape(rows, BINS).astype(np.int32)
        touched = self._distinct(where)
        self._stale[name][touched] = True
        self._touch(touched)

    # --- output

    def rows(self, since: int = 0, most: int = BUCKETS) -> tuple[Json, int]:
        """Columns of the buckets that changed after version ``since`` (0, or one of an earlier run:
        all; negative: none), at most ``most`` of them, and the version for the next call.

        ``index``, ``t`` (start of the bucket, s), a rate per second for each amount, gauges, and
        for each latency with samples ``{name: {p50, p90, p99, heat}}``; heat is, for each bucket, a
        flat list of (row of the heat map, count) pairs.
        """
        if since > self.version:
            since = 0
        where = np.flatnonzero(self._changed[: self.used if since >= 0 else 0] > since)
        version = self.version
        if len(where) > most:
            oldest = np.argsort(self._changed[where])[:most]
            version = int(self._changed[where[oldest[-1]]])
            where = np.sort(where[oldest])
        rows: Json = {"index": where.tolist(), "t": (where * self.width_s).tolist()}
        spans = np.clip(self.end_s - where * self.width_s, 1e-9, self.width_s)
        # A bucket that has only just begun has no meaningful rate.
        open_ = spans < min(0.5, self.width_s / 2)
        for name, amounts in self._amounts.items():
            rows[name] = plain(np.where(open_ & (where > 0), np.nan, amounts[where] / spans))
        for name, values in self._gauges.items():
            rows[name] = plain(values[where])
        rows["latency"] = {
            name: self._latency(name, where)
            for name in (row.key for row in LATENCIES)
            if name in self._counts
        }
        return rows, version

    def _latency(self, name: str, where: NDArray[np.int64]) -> Json:
        counts, found, stale = self._counts[name], self._found[name], self._stale[name]
        for i in where[stale[where]].tolist():
            found[i] = percentiles(counts[i], WANTED)
        stale[where] = False
        columns: Json = {f"p{q:g}": plain(found[where, k]) for k, q in enumerate(WANTED)}
        coarse = counts[where].reshape(len(where), BINS // HEAT_STEP, HEAT_STEP).sum(axis=2)
        columns["heat"] = []
        for row in coarse:
            filled = np.flatnonzero(row)
            columns["heat"].append(np.column_stack((filled, row[filled])).ravel().tolist())
        return columns

    # --- size

    def _index(self, at_s: float) -> int:
        return min(int(max(at_s, 0.0) / self.width_s), self.buckets - 1)

    def _indexes(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        times_s = np.clip(times_s, 0.0, _MOST_S)
        self._make_room(float(times_s.max()))
        return (times_s / self.width_s).astype(np.int64)

    def _make_room(self, at_s: float) -> None:
        at_s = min(max(at_s, 0.0), _MOST_S)
        while at_s >= self.width_s * self.buckets:
            self._halve()
        used = int(at_s / self.width_s) + 1
        if used > self.used:
            self._touch(slice(self.used, used))
            self.used = used
        self.end_s = max(self.end_s, at_s)

    def _halve(self) -> None:
        """Merge each two neighbours into one bucket of twice the width."""
        half = self.buckets // 2
        for amounts in self._amounts.values():
            amounts[:half] = amounts.reshape(half, 2).sum(axis=1)
            amounts[half:] = 0.0
        for values in self._gauges.values():
            values[:half] = np.fmax(values[0::2], values[1::2])
            values[half:] = np.nan
        for name, counts in self._counts.items():
            counts[:half] = counts.reshape(half, 2, BINS).sum(axis=1)
            counts[half:] = 0
            self._found[name][:] = np.nan
            self._stale[name][:] = True
        self.width_s *= 2
        self.used = (self.used + 1) // 2
        self._touch(slice(0, half))

    def _distinct(self, where: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.bincount(where, minlength=self.buckets))

    def _touch(self, where: slice | NDArray[np.int64]) -> None:
        changed = self._changed[where]
        # Each bucket gets its own version, so that a response may stop after any of them.
        self._changed[where] = self.version + 1 + np.arange(len(changed))
        self.version += len(changed)


def plain(values: NDArray[np.float64]) -> list[float | None]:
    """Values for JSON: rounded to four decimals, None for NaN."""
    return [round(v, 4) if v == v else None for v in values.tolist()]
