"""What the simulator saw: counts, the last requests, a log line for each."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import orjson

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.simulator.engine.power import PowerMeter
from llmbench_locust.simulator.histograms import Latencies

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
    sha: str
    prompt_tokens: int
    output_tokens: int
    stream: bool
    model: str
    headers: dict[str, str]
    status: int = 200
    end: float | None = None
    outcome: str = "running"
    sent_tokens: int = 0
    cached_tokens: int = 0
    scheduled: float | None = None
    first: float | None = None
    last: float | None = None

    def as_dict(self) -> Json:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class Stats:
    keep: int
    log_path: str | None = None
    power: PowerMeter = field(default_factory=lambda: PowerMeter(0.0, 0.0, time.monotonic()))
    started: float = field(default_factory=time.monotonic)

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
        self.in_flight = 0
        self.peak_in_flight = 0
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
        """`outcome`: complete, gone (the client left), refused, or the fault that ended it."""
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
        """By vLLM's reasons: a complete response has its own, a client that left is an abort."""
        reason = reason if outcome == "complete" else "abort" if outcome == "gone" else "error"
        self.finished[reason if reason in self.finished else "stop"] += 1

    def drafted(self, accepted: int, drafts: int) -> None:
        """A step of speculative decoding: `drafts` tokens proposed, the first `accepted` taken."""
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
            answer["requests"] = [seen.as_dict() for seen in self.requests]
        return answer


def header_subset(environ: Json) -> dict[str, str]:
    """The headers worth keeping; of a credential only that there was one."""
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
