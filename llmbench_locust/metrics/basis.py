"""The common input of the figures of a finished run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.concurrency import Sweep, sweep
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.metrics.latencies import Floats
from llmbench_locust.metrics.overload import Overload, overload
from llmbench_locust.metrics.server import server_figures
from llmbench_locust.metrics.tokens import TokenBins, token_weights
from llmbench_locust.metrics.vllm import Summary

Shape = Callable[[Floats], dict[str, float] | None]


class Basis:
    """Facts and summary of a finished run, and intermediate results of several figures."""

    def __init__(self, facts: RunFacts, summary: Summary) -> None:
        self.facts, self.summary = facts, summary
        self.columns, self.found = facts.columns, summary.latencies
        self.percentiles = facts.config.metric_percentiles
        self.shape = shaper(self.percentiles)

    @cached_property
    def exact(self) -> NDArray[np.bool_]:
        return ~self.facts.gone

    @cached_property
    def rows(self) -> NDArray[np.bool_]:
        return self.columns.success & self.exact

    @cached_property
    def weights(self) -> NDArray[np.int64] | None:
        summary = self.summary
        generation = summary.kind == "generation"
        return token_weights(self.columns, summary.output_lens) if generation else None

    @cached_property
    def flying(self) -> Sweep:
        return sweep(self.columns)

    @cached_property
    def overload(self) -> Overload | None:
        return overload(self.columns)

    @cached_property
    def server(self) -> Json | None:
        return server_figures(self.facts, self.summary)

    @cached_property
    def bins(self) -> TokenBins:
        return _token_bins(self)


def shaper(percentiles: Sequence[float]) -> Shape:
    """Returns a function: seconds → mean, percentiles (50, 90, 99 and the wanted ones) and max in
    ms; None without samples.
    """
    points = sorted({50.0, 90.0, 99.0, *percentiles})

    def shape(seconds: Floats) -> dict[str, float] | None:
        some = seconds[~np.isnan(seconds)]
        if not len(some):
            return None
        return named_ms(
            float(some.mean()), points, np.percentile(some, points).tolist(), float(some.max())
        )

    return shape


def named_ms(
    mean_s: float, points: Sequence[float], values_s: Sequence[float], max_s: float
) -> dict[str, float]:
    names = [f"p{int(p) if int(p) == p else p}" for p in points]
    values = {name: value * 1000 for name, value in zip(names, values_s, strict=True)}
    return {"mean": mean_s * 1000, **values, "max": max_s * 1000}


def _token_bins(basis: Basis) -> TokenBins:
    bins, columns, weights = TokenBins(), basis.columns, basis.weights
    chosen = np.repeat(basis.rows, np.diff(columns.token_offsets))
    bins.add(columns.token_times[chosen], None if weights is None else weights[chosen])
    if basis.facts.folded is not None:
        bins.merge(basis.facts.folded.token_bins)
    return bins
