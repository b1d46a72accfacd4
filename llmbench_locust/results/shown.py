"""The input of a report: the result document and the data of its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.json_values import as_object, number
from llmbench_locust.metrics.facts import Figures
from llmbench_locust.metrics.latencies import Ints, Latencies
from llmbench_locust.records import RecordColumns
from llmbench_locust.server_metrics.reading import Reading


def block_of(document: Mapping[str, JsonValue]) -> Json:
    """Our own block of a result; {} for a file of another tool."""
    return as_object(document.get("llmbench"))


def attained(document: Mapping[str, JsonValue]) -> float | None:
    """Share of all requests that met every objective of --goodput; None without objectives."""
    share: float | None = (block_of(document).get("slo_attainment") or {}).get("all")
    return share


def client_limited(document: Mapping[str, JsonValue]) -> bool:
    return bool((block_of(document).get("audit") or {}).get("client_limited"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The data of a run's charts. ``origin_s``: start of the run on the requests' clock. ``gone``:
    rows whose gaps are not kept.
    """

    columns: RecordColumns
    latencies: Latencies
    output_lens: Ints
    origin_s: float
    duration_s: float
    gone: NDArray[np.bool_]
    objectives_ms: dict[str, float] = field(default_factory=dict)
    thresholds_ms: tuple[float, ...] = (25.0, 50.0)
    server: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    gpus: Mapping[str, Sequence[Reading]] = field(default_factory=dict)

    @classmethod
    def of(cls, figures: Figures) -> Drawn:
        facts, summary = figures.facts, figures.summary
        return cls(
            columns=facts.columns,
            latencies=summary.latencies,
            output_lens=summary.output_lens,
            origin_s=facts.origin_s,
            duration_s=facts.duration_s,
            gone=facts.gone,
            objectives_ms=facts.config.goodput,
            thresholds_ms=facts.config.timeline_itl_thresholds,
            server=facts.server,
            gpus=facts.gpus,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A run to report on. ``drawn``: None if the file has no requests. ``tool``: which tool wrote
    the file. ``missing``: what that tool's files lack.
    """

    name: str
    document: Json
    drawn: Drawn | None = None
    tool: str = "llmbench"
    missing: str = ""

    @classmethod
    def of(cls, figures: Figures, document: Json) -> Shown:
        return cls("", document, Drawn.of(figures))

    @property
    def block(self) -> Json:
        return block_of(self.document)

    def latency_ms(self, name: str, p: float | None) -> float | None:
        """A percentile, or the mean for None: from the file, else from its requests."""
        word = "mean" if p is None else "median" if p == 50 else f"p{p:g}"
        # vLLM writes 0 for a latency without a sample.
        if found := number(self.document.get(f"{word}_{name}_ms")):
            return found
        if self.drawn is None or (name == "itl" and self.drawn.gone.any()):
            return None
        values = getattr(self.drawn.latencies, f"{name}_s")
        some = values[~np.isnan(values)]
        if not some.any():  # no samples, or every response came in one piece
            return None
        return float(np.mean(some) if p is None else np.percentile(some, p)) * 1e3
