"""A server's Prometheus text at one moment becomes values in our vocabulary. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from llmbench_locust.errors import BenchError
from llmbench_locust.server_metrics.vocabulary import SERVER_METRICS, ServerMetric

_TERM = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(\w+)=(.+)\})?")


class NotMetricsError(BenchError):
    """The text is no Prometheus text."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bound, ascending; the last bound is infinite."""

    total_s: float
    count: float
    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One server's values at ``time_s`` (seconds of the monotonic clock); only those it has."""

    time_s: float
    values: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


#: One sample of the text: its name, its labels, its value.
Sample = tuple[str, Mapping[str, str], float]


def parse(text: str, time_s: float) -> Reading:
    """The values of `SERVER_METRICS` in a Prometheus text. Raises NotMetricsError."""
    samples: dict[str, list[Sample]] = {}
    for sample in _samples(text):
        samples.setdefault(sample[0], []).append(sample)
    reading = Reading(time_s)
    for row in SERVER_METRICS:
        if row.kind == "histogram":
            histogram = _histogram(row, samples)
            if histogram is not None:
                reading.histograms[row.name] = histogram
        else:
            value = _value(row, samples)
            if value is not None:
                reading.values[row.name] = value * row.scale
    return reading


def _samples(text: str) -> Iterator[Sample]:
    """The samples that a row may want. A page has hundreds of others, and parsing is most of the
    cost of a reading; a page with none of ours is parsed whole, to tell whether it is one at all.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted = "\n".join(line for line in text.splitlines() if line.startswith(_names()))
    try:
        for family in text_string_to_metric_families(f"{wanted}\n" if wanted else text):
            for sample in family.samples:
                yield sample.name, sample.labels, float(sample.value)
    except (ValueError, KeyError, IndexError, TypeError) as e:
        raise NotMetricsError(f"not Prometheus text: {' '.join(str(e).split())[:120]}") from e


def _value(row: ServerMetric, samples: Mapping[str, list[Sample]]) -> float | None:
    """The sum over all label sets, of the first source that the server has."""
    for source in row.sources:
        found = [
            value
            for name, label, pattern in _terms(source)
            for _, labels, value in samples.get(name) or samples.get(f"{name}_total") or ()
            if label is None or pattern.fullmatch(labels.get(label, ""))
        ]
        if found:
            return sum(found)
    return None


def _histogram(row: ServerMetric, samples: Mapping[str, list[Sample]]) -> Histogram | None:
    for name in row.sources:
        sums, counts = samples.get(f"{name}_sum"), samples.get(f"{name}_count")
        if not sums or not counts:
            continue
        buckets: dict[float, float] = {}
        for _, labels, value in samples.get(f"{name}_bucket", ()):
            bound = float(labels.get("le", "nan"))
            buckets[bound] = buckets.get(bound, 0.0) + value
        bounds = tuple(sorted(buckets))
        return Histogram(
            sum(value for *_, value in sums),
            sum(value for *_, value in counts),
            bounds,
            tuple(buckets[bound] for bound in bounds),
        )
    return None


@cache
def _names() -> tuple[str, ...]:
    """How the lines of samples that any row wants begin."""
    return tuple({name for row in SERVER_METRICS for s in row.sources for name, *_ in _terms(s)})


@cache
def _terms(source: str) -> tuple[tuple[str, str | None, re.Pattern[str]], ...]:
    terms = []
    for term in source.split(" + "):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"bad source {source!r}")
        name, label, pattern = match.groups()
        terms.append((name, label, re.compile(pattern or "")))
    return tuple(terms)
