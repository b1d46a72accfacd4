"""Parses a server's Prometheus text to values in our vocabulary. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from llmbench_locust.errors import BenchError
from llmbench_locust.json_types import Json
from llmbench_locust.redact import redacted
from llmbench_locust.server_metrics.vocabulary import (
    BY_NAME,
    GPU_METRICS,
    SERVER_METRICS,
    ServerMetric,
)

_TERM = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(\w+)=(.+)\})?")
_GPU_LABELS = ("gpu", "UUID", "uuid", "gpu_uuid")


class NotMetricsError(BenchError):
    """The text is not in Prometheus' format."""


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

    @classmethod
    def of(cls, found: Json) -> Reading:
        """From its fields in a result's ``series`` or in a journal."""
        return cls(
            found["time_s"],
            found["values"],
            {name: Histogram(**histogram) for name, histogram in found["histograms"].items()},
        )


#: One sample of the text: name, labels, value.
Sample = tuple[str, Mapping[str, str], float]


def parse(text: str, time_s: float, gpus: Sequence[str] = ()) -> Reading:
    """The values of the vocabulary in a Prometheus text; ``gpus``: indexes or UUIDs of the GPUs to
    include, default all. Values that are not finite are left out. Raises NotMetricsError.
    """
    samples: dict[str, list[Sample]] = {}
    for sample in samples_of(text, _names()):
        if math.isfinite(sample[2]):
            samples.setdefault(sample[0], []).append(sample)
    reading = Reading(time_s)
    for row in SERVER_METRICS:
        if row.kind == "histogram":
            histogram = _histogram(row, samples)
            if histogram is not None:
                reading.histograms[row.name] = histogram
        elif (value := _value(row, samples)) is not None:
            reading.values[row.name] = value
    if gpus:
        samples = {name: _of_gpus(found, gpus) for name, found in samples.items()}
    for row in GPU_METRICS:
        if (value := _value(row, samples)) is not None:
            reading.values[row.name] = value
    return reading


def _of_gpus(samples: list[Sample], wanted: Sequence[str]) -> list[Sample]:
    return [s for s in samples if any(s[1].get(label) in wanted for label in _GPU_LABELS)]


def samples_of(text: str, names: tuple[str, ...]) -> Iterator[Sample]:
    """The samples whose names begin with one of ``names``. Raises NotMetricsError.

    A page has hundreds of others, and parsing is most of the cost of a reading. A page without any
    of these names is parsed completely, to check that it is a metrics page.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted = "\n".join(line for line in text.splitlines() if line.startswith(names))
    try:
        for family in text_string_to_metric_families(f"{wanted}\n" if wanted else text):
            for sample in family.samples:
                yield sample.name, sample.labels, float(sample.value)
    except (ValueError, KeyError, IndexError, TypeError) as e:
        raise NotMetricsError(f"not Prometheus text: {redacted(str(e))[:120]}") from e


def _value(row: ServerMetric, samples: Mapping[str, list[Sample]]) -> float | None:
    """The value over all label sets of the first source that the page has."""
    for source in row.sources:
        text, _, factor = source.partition(" * ")
        above, _, below = text.partition(" / ")
        found = _found(above, samples)
        if not found:
            continue
        if row.unit == "count":
            return float(len(found))
        value = sum(found) * float(factor or 1)
        if below:
            divisor = sum(_found(below, samples))
            return value / divisor if divisor else None
        return value / len(found) if row.unit == "share" else value
    return None


def _found(source: str, samples: Mapping[str, list[Sample]]) -> list[float]:
    return [
        value
        for name, label, pattern in _terms(source)
        for _, labels, value in _totals(samples.get(name) or samples.get(f"{name}_total") or [])
        if label is None or pattern.fullmatch(labels.get(label, ""))
    ]


def _totals(samples: list[Sample]) -> list[Sample]:
    """Only totals: with priority scheduling SGLang has a sample per priority, and the sum at ""."""
    sums = [sample for sample in samples if sample[1].get("priority") == ""]
    return sums or samples


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
    """Name prefixes of the samples that any row uses."""
    words = (re.split(r" [+/*] ", s) for row in BY_NAME.values() for s in row.sources)
    return tuple({w.partition("{")[0] for found in words for w in found if not w[0].isdigit()})


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
