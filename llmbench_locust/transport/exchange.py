"""One request and its response: plain data, no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NAN = float("nan")


@dataclass(slots=True)
class Request:
    """A request that is ready to send. ``target`` is path and query; ``headers`` are without Host
    and Content-Length.
    """

    target: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Limit:
    """When the client ends an exchange: ``seconds`` after its start, with an error of ``kind``."""

    seconds: float
    kind: str = "timeout"

    @property
    def words(self) -> str:
        what = "timed out" if self.kind == "timeout" else f"{self.kind} by the client"
        return f"{what} after {self.seconds:.4g} s"


@dataclass(slots=True)
class Exchange:
    """The outcome. Times in seconds of `time.perf_counter`; NaN if the event never happened.

    ``start_time``: just before the first byte was written. ``connect_s``: 0.0 on an open
    connection. ``first_token_time``: arrival of the first token event. ``end_time``: the stream
    closed (or failed). ``token_times``: float64, shape (n_events,); ``token_counts``: int32, same
    shape, None if each event had one token. ``error_kind``: "" or one of `RequestRecord`'s words.
    ``complete``: whether the HTTP framing of the body was complete. ``error_body``: the first
    64 KB of a response whose status was not 2xx.
    """

    start_time: float = NAN
    connect_s: float = 0.0
    first_token_time: float = NAN
    end_time: float = NAN
    status: int = -1
    headers: dict[str, str] = field(default_factory=dict)
    token_times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    token_counts: NDArray[np.int32] | None = None
    complete: bool = False
    error: str = ""
    error_kind: str = ""
    error_body: bytes = b""
    resent: bool = False
