"""Computes figures from the readings of a run: counter differences, gauges and latencies. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypedDict

import numpy as np

from llmbench_locust.server_metrics.reading import Histogram, Reading
from llmbench_locust.server_metrics.vocabulary import BY_NAME, SERVER_METRICS, ServerMetric


class Gauge(TypedDict):
    """Statistics of a gauge over the readings during the run."""

    mean: float
    max: float


class Percentile(TypedDict):
    """A percentile interpolated in its bucket, and the bucket, in which it can be anywhere."""

    value: float
    at_least: float
    at_most: float | None


class Latency(TypedDict):
    """Statistics of the observations between the first and the last reading, in seconds."""

    count: int
    mean: float
    percentiles: dict[str, Percentile]


class ServerFigures(TypedDict):
    """``restarted``: a counter decreased, so the differences are unknown and left out."""

    seconds: float
    readings: int
    restarted: bool
    counters: dict[str, float]
    gauges: dict[str, Gauge]
    latencies: dict[str, Latency]


def figures_of(readings: Sequence[Reading], percentiles: Sequence[float]) -> ServerFigures | None:
    """One server's figures from its readings in time order; None for fewer than two.

    A histogram's mean is exact (Δsum ÷ Δcount); its percentiles are as precise as its buckets.
    """
    if len(readings) < 2:
        return None
    first, last = readings[0], readings[-1]
    restarted = any(_fell(a, b) for a, b in pairwise(readings))
    deltas = {} if restarted else _deltas(first, last)
    return {
        "seconds": last.time_s - first.time_s,
        "readings": len(readings),
        "restarted": restarted,
        "counters": deltas,
        "gauges": gauges_of(readings),
        "latencies": {} if restarted else _latencies(first, last, percentiles),
    }


def _fell(before: Reading, after: Reading) -> bool:
    counters = (row.name for row in SERVER_METRICS if row.kind == "counter")
    return any(after.values.get(n, math.inf) < before.values.get(n, -math.inf) for n in counters)


def _deltas(first: Reading, last: Reading) -> dict[str, float]:
    """Differences of the counters. A counter that appears only later started at zero."""
    return {
        row.name: last.values[row.name] - first.values.get(row.name, 0.0)
        for row in SERVER_METRICS
        if row.kind == "counter" and row.name in last.values
    }


def gauges_of(
    readings: Sequence[Reading], rows: Sequence[ServerMetric] = SERVER_METRICS
) -> dict[str, Gauge]:
    """Time-weighted mean and maximum of each gauge of the page."""
    found: dict[str, Gauge] = {}
    for row in rows:
        points = [(r.time_s, r.values[row.name]) for r in readings if row.name in r.values]
        if row.kind == "gauge" and points:
            times, values = np.array(points).T
            span_s = times[-1] - times[0]
            between = (values[1:] + values[:-1]) / 2
            mean = between @ np.diff(times) / span_s if span_s > 0 else values.mean()
            found[row.name] = {"mean": float(mean), "max": float(values.max())}
    return found


def _latencies(first: Reading, last: Reading, asked: Sequence[float]) -> dict[str, Latency]:
    found: dict[str, Latency] = {}
    for name, after in last.histograms.items():
        window = between(first.histograms.get(name), after)
        if window.count > 0:
            found[name] = {
                "count": int(window.count),
                "mean": window.total_s / window.count,
                "percentiles": {
                    f"{p:g}": value
                    for p in asked
                    if (value := percentile_of(window, p)) is not None
                },
            }
    return found


def between(before: Histogram | None, after: Histogram) -> Histogram:
    """The histogram of the observations between two readings."""
    if before is None:
        return after
    earlier = dict(zip(before.bounds, before.counts, strict=True))
    return Histogram(
        after.total_s - before.total_s,
        after.count - before.count,
        after.bounds,
        tuple(
            n - earlier.get(bound, 0.0) for bound, n in zip(after.bounds, after.counts, strict=True)
        ),
    )


def percentile_of(histogram: Histogram, p: float) -> Percentile | None:
    """The ``p``-th percentile, interpolated linearly in its bucket; None if there are no
    observations or buckets.

    In the last, unbounded bucket the value is the bucket's lower bound and ``at_most`` is None.
    """
    if histogram.count <= 0 or not histogram.counts:
        return None
    rank, low, below = histogram.count * p / 100, 0.0, 0.0
    for bound, cumulated in zip(histogram.bounds, histogram.counts, strict=True):
        if cumulated >= rank and cumulated > below:
            if math.isinf(bound):
                return {"value": low, "at_least": low, "at_most": None}
            inside = (rank - below) / (cumulated - below)
            return {"value": low + inside * (bound - low), "at_least": low, "at_most": bound}
        low, below = (low if math.isinf(bound) else bound), cumulated
    return {"value": low, "at_least": low, "at_most": None}


def summed(replicas: Sequence[ServerFigures]) -> ServerFigures | None:
    """Several replicas combined: counts add up, means are weighted by their counts.

    Percentiles are available only per replica.
    """
    if not replicas:
        return None
    latencies: dict[str, Latency] = {}
    for name in {name for r in replicas for name in r["latencies"]}:
        parts = [r["latencies"][name] for r in replicas if name in r["latencies"]]
        count = sum(part["count"] for part in parts)
        mean = sum(part["mean"] * part["count"] for part in parts) / count
        single = parts[0]["percentiles"] if len(parts) == 1 else {}
        latencies[name] = {"count": count, "mean": mean, "percentiles": single}
    return {
        "seconds": max(r["seconds"] for r in replicas),
        "readings": sum(r["readings"] for r in replicas),
        "restarted": any(r["restarted"] for r in replicas),
        "counters": {
            name: sum(r["counters"].get(name, 0.0) for r in replicas)
            for name in {name for r in replicas for name in r["counters"]}
        },
        "gauges": summed_gauges([r["gauges"] for r in replicas]),
        "latencies": latencies,
    }


def summed_gauges(pages: Sequence[Mapping[str, Gauge]]) -> dict[str, Gauge]:
    """Gauges of several pages, summed. A share is averaged; its maximum is that of all pages."""
    gauges: dict[str, Gauge] = {}
    for name in dict.fromkeys(name for page in pages for name in page):
        found = [page[name] for page in pages if name in page]
        share = BY_NAME[name].unit == "share"
        gauges[name] = {
            "mean": sum(g["mean"] for g in found) / (len(found) if share else 1),
            "max": max(g["max"] for g in found) if share else sum(g["max"] for g in found),
        }
    return gauges


def at_present(readings: Iterable[Reading]) -> dict[str, float]:
    """The gauges of each page's latest reading, combined like `summed_gauges`."""
    pages = [gauges_of([reading], tuple(BY_NAME.values())) for reading in readings]
    return {name: gauge["mean"] for name, gauge in summed_gauges(pages).items()}
