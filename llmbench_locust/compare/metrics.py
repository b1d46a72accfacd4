"""The figures that can be compared, by name in the result file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llmbench_locust.compare.reading import Run, section
from llmbench_locust.errors import ConfigError, did_you_mean
from llmbench_locust.json_values import number
from llmbench_locust.results.conditions import latency_of
from llmbench_locust.statistics.blocks import BLOCKS, UNKNOWN, StandardError
from llmbench_locust.statistics.comparison import Figure, mean_figure, quantile_figure
from llmbench_locust.statistics.distributions import t_quantile
from llmbench_locust.statistics.estimates import rate_influence

# Key of the result → title.
THROUGHPUTS = {
    "request_throughput": "requests/s",
    "request_goodput": "goodput (requests/s)",
    "output_throughput": "output tok/s",
    "total_token_throughput": "total tok/s",
    "capacity": "capacity",  # of a capacity search
}
# Few, because each additional metric widens all intervals.
DEFAULT = (
    *("mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_itl_ms"),
    *("mean_e2el_ms", "output_throughput"),
)
DEFAULT_POOLING = ("mean_e2el_ms", "p99_e2el_ms", "request_throughput")


@dataclass(frozen=True, slots=True)
class Metric:
    """``latency`` is "" for a throughput; ``p`` is None for a mean."""

    key: str
    title: str
    latency: str = ""
    p: float | None = None

    @property
    def higher_is_better(self) -> bool:
        return not self.latency

    @property
    def of_requests(self) -> bool:
        """Whether a file with --save-detailed has a value of each request."""
        return self.latency != "ttfo" and self.key not in ("request_goodput", "capacity")


def metric(key: str) -> Metric:
    """The metric for a name in the result file. Raises ConfigError with the most similar name."""
    if key in THROUGHPUTS:
        return Metric(key, THROUGHPUTS[key])
    found = latency_of(key)
    if found is None or found[0] in ("std", "p100"):
        names = [*THROUGHPUTS, *DEFAULT, *DEFAULT_POOLING]
        hint = did_you_mean(key, names)
        hint = f" ({hint})" if hint else ""
        raise ConfigError(
            f"{key}: no such metric{hint}; allowed: mean, median or p1 to p99.99, followed by "
            f"_ttft_ms, _tpot_ms, _itl_ms or _e2el_ms; {', '.join(THROUGHPUTS)}"
        )
    word, latency = found
    p = None if word == "mean" else 0.5 if word == "median" else float(word[1:]) / 100
    shown = word.upper() if word.startswith("p") else word
    return Metric(key, f"{shown} {latency.upper()} (ms)", latency, p)


def figure(run: Run, wanted: Metric) -> Figure | None:
    """A run's value of a metric; None if it is missing or not positive."""
    found = _throughput(run, wanted) if not wanted.latency else _of_requests(run, wanted)
    if found is None:
        value = number(run.document.get(wanted.key))
        if value is None and wanted.p == 0.5:
            value = number(run.document.get(f"median_{wanted.latency}_ms"))
        if value is None:
            return None
        found = Figure(value, known=_known_error(run, wanted))
    return found if found.value > 0 else None


def _of_requests(run: Run, wanted: Metric) -> Figure | None:
    sample = run.requests.samples.get(wanted.latency) if run.requests else None
    if wanted.latency == "itl" and run.block.get("exact") is False:
        return None  # the file has the gaps of some requests only
    if sample is None or sample.values.mean() <= 0:
        return None
    in_ms = type(sample)(sample.values * 1000, sample.counts)
    if wanted.p is None:
        return mean_figure(in_ms)
    return quantile_figure(in_ms, wanted.p) if np.quantile(in_ms.values, wanted.p) > 0 else None


def _throughput(run: Run, wanted: Metric) -> Figure | None:
    value, requests = number(run.document.get(wanted.key)), run.requests
    if value is None or requests is None or requests.end is None:
        return None
    amounts = np.ones(len(requests.ok))
    if wanted.key == "request_goodput":
        return None
    if wanted.key != "request_throughput":
        if requests.output is None or requests.input is None:
            return None
        amounts = requests.output.astype(np.float64)
        if wanted.key == "total_token_throughput":
            amounts += requests.input
    done = requests.ok
    if int(done.sum()) < 2:
        return None
    return Figure(value, (rate_influence(amounts[done], requests.end[done]),))


def _known_error(run: Run, wanted: Metric) -> StandardError:
    """The error from the intervals in our files, for files without requests."""
    if wanted.key == "capacity":
        return _error_of([run.document.get("low"), run.document.get("high")])
    intervals = section(run.block, "intervals")
    name = "mean" if wanted.p is None else f"p{wanted.p * 100:g}"
    found = (
        section(intervals, f"{wanted.latency}_ms").get(name)
        if wanted.latency
        else intervals.get(wanted.key)
    )
    return _error_of(found) if isinstance(found, list) else UNKNOWN


def _error_of(interval: list[object]) -> StandardError:
    """The standard error of a figure's logarithm from its 95% interval."""
    ends = [number(end) for end in interval]
    if len(ends) != 2 or not ends[0] or not ends[1]:
        return UNKNOWN
    df = BLOCKS - 1
    return StandardError(math.log(ends[1] / ends[0]) / 2 / t_quantile(0.975, df), df)
