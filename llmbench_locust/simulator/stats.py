"""Statistics of the simulator: counts, the last requests, a log line for each."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json

_LOGGED = ("t", "sha", "request_id", "path", "prompt_tokens", "output_tokens", "model")
_SNAPSHOT = (
    *("received", "in_flight", "peak_in_flight", "connections", "outcomes", "paths"),
    *("prompt_tokens", "generation_tokens", "profiles"),
)
_HEADERS = ("user-agent", "x-request-id", "content-type", "accept", "connection")


@dataclass(slots=True)
class Seen:
    """One request. Times are seconds of CLOCK_MONOTONIC, comparable within one machine."""

    t: float
    path: str
    request_id: str
    headers: dict[str, str]
    sha: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    stream: bool = False
    model: str = ""
    status: int = 200
    end: float | None = None
    outcome: str = "running"
    sent_tokens: int = 0
    cached_tokens: int = 0
    scheduled: float | None = None
    first: float | None = None
    last: float | None = None


@dataclass
class Stats:
    keep: int
    log_path: str | None = None
    power: PowerMeter = field(default_factory=lambda: PowerMeter(0.0, 0.0, time.monotonic()))
    started: float = field(default_factory=time.monotonic)

    in_flight: int = 0

    def __post_init__(self) -> None:
        self._log: int | None = None
        if self.log_path is not None:
            try:
                self._log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as error:
                raise ConfigError(f"--log: {self.log_path}: {error.strerror}") from None
        self.reset()

    def reset(self) -> None:
        self.requests: deque[Seen] = deque(maxlen=self.keep)
        self.received = 0
        self.peak_in_flight = self.in_flight
        self.power.joules = 0.0
        self.connections = 0
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.paths: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.drafts = 0
        self.draft_tokens = 0
        self.accepted_tokens = 0
        self.accepted_at: list[int] = []
        self.profiles: list[str] = []
        self.latencies = Latencies()
        self.finished = dict.fromkeys(("stop", "length", "abort", "error"), 0)

    def begin(self, seen: Seen) -> None:
        self.received += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.power.update(seen.t, self.in_flight)
        self.paths[seen.path] += 1
        self.requests.append(seen)
        if self._log is not None:
            line = {"id" if n == "request_id" else n: getattr(seen, n) for n in _LOGGED}
            os.write(self._log, orjson.dumps(line) + b"\n")

    def end(self, seen: Seen, outcome: str) -> None:
        """`outcome`: complete, gone (client disconnected), refused, or the fault that ended it."""
        seen.end = time.monotonic()
        seen.outcome = outcome
        self.in_flight -= 1
        self.power.update(seen.end, self.in_flight)
        scheduled, first, last = seen.scheduled, seen.first, seen.last
        if scheduled is not None and first is not None and last is not None:
            self.latencies.observe(seen.t, scheduled, first, last, seen.sent_tokens - 1)
        self.outcomes[outcome] += 1
        self.statuses[seen.status] += 1
        if seen.status == 200:
            self.prompt_tokens += seen.prompt_tokens

    def count_finish(self, reason: str, outcome: str) -> None:
        """By vLLM's reasons: a complete response's own; abort for a disconnected client."""
        reason = reason if outcome == "complete" else "abort" if outcome == "gone" else "error"
        self.finished[reason if reason in self.finished else "stop"] += 1

    def drafted(self, accepted: int, drafts: int) -> None:
        """Count a speculative decoding step: of `drafts` tokens the first `accepted` are used."""
        self.drafts += 1
        self.draft_tokens += drafts
        self.accepted_tokens += accepted
        while len(self.accepted_at) < drafts:
            self.accepted_at.append(0)
        for position in range(accepted):
            self.accepted_at[position] += 1

    def snapshot(self, with_requests: bool = True) -> Json:
        answer: Json = {
            "now": time.monotonic(),
            "uptime_s": time.monotonic() - self.started,
            **{name: getattr(self, name) for name in _SNAPSHOT},
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "cpu_s": time.process_time(),
        }
        if with_requests:
            answer["requests"] = list(self.requests)  # orjson writes dataclasses
        return answer


def header_subset(environ: Json) -> dict[str, str]:
    """The interesting headers; for a credential only that there was one."""
    found: dict[str, str] = {}
    for name in _HEADERS:
        key = name.upper().replace("-", "_")
        value = environ.get(key if key == "CONTENT_TYPE" else "HTTP_" + key)
        if value is not None:
            found[name] = value
    for key, value in environ.items():
        if key.startswith("HTTP_X_") and key not in ("HTTP_X_REQUEST_ID", "HTTP_X_API_KEY"):
            found[key[5:].lower().replace("_", "-")] = value
    for key, name in (("HTTP_AUTHORIZATION", "authorization"), ("HTTP_X_API_KEY", "x-api-key")):
        if key in environ:
            found[name] = "given"
    return found


class PowerMeter:
    """A simulated GPU: idle watts, plus a constant for each request in flight. ``watts``: now;
    ``joules``: so far. `update` is called whenever the requests change.
    """

    def __init__(self, idle_w: float, per_request_w: float, now_s: float) -> None:
        self._idle_w = idle_w
        self._per_request_w = per_request_w
        self._since_s = now_s
        self.in_flight = 0
        self.joules = 0.0

    @property
    def watts(self) -> float:
        return self._idle_w + self._per_request_w * self.in_flight

    def update(self, now_s: float, in_flight: int) -> None:
        """From now on ``in_flight`` requests draw power."""
        self.joules += self.watts * (now_s - self._since_s)
        self._since_s, self.in_flight = now_s, in_flight


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
    """Latency histograms with vLLM's names and buckets, observed when a response ends."""

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
        """Add a response's times, in seconds on one clock. ITL: its mean gap, once per gap."""
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
