"""Latency histograms with vLLM's names and buckets, observed when a response ends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

_TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_ITL = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_REQUEST = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)


class Histogram:
    """Counts by upper bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def lines(self, name: str, labels: str) -> Iterator[str]:
        yield f"# TYPE {name} histogram"
        seen = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {float(seen)}'
        yield f"{name}_count{{{labels}}} {float(seen)}"
        yield f"{name}_sum{{{labels}}} {self.total!r}"


class Latencies:
    """All histograms of one server."""

    def __init__(self) -> None:
        self.by_name = {
            "vllm:time_to_first_token_seconds": Histogram(_TTFT),
            "vllm:inter_token_latency_seconds": Histogram(_ITL),
            "vllm:e2e_request_latency_seconds": Histogram(_REQUEST),
            "vllm:request_queue_time_seconds": Histogram(_REQUEST),
            "vllm:request_prefill_time_seconds": Histogram(_REQUEST),
            "vllm:request_decode_time_seconds": Histogram(_REQUEST),
        }

    def observe(
        self, arrival: float, scheduled: float, first: float, last: float, gaps: int
    ) -> None:
        """One response: its times, in seconds of one clock. ITL: its mean gap, once for each."""
        spans = (
            ("vllm:time_to_first_token_seconds", first - arrival),
            ("vllm:e2e_request_latency_seconds", last - arrival),
            ("vllm:request_queue_time_seconds", scheduled - arrival),
            ("vllm:request_prefill_time_seconds", first - scheduled),
            ("vllm:request_decode_time_seconds", last - first),
        )
        for name, span in spans:
            self.by_name[name].observe(max(0.0, span))
        if gaps > 0:
            mean = (last - first) / gaps
            self.by_name["vllm:inter_token_latency_seconds"].observe(mean, gaps)
