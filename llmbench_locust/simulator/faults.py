"""Faults of real servers, by name. Flags apply them to a share of all requests, the header
`x-sim-fault` to one.

A fault is written `name` or `name=value`; separate several by commas. K counts token events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from llmbench_locust.errors import ConfigError

T = TypeVar("T")


def _fault(healthy: T, least: float, bare: float, help: str) -> T:
    """The field of a fault. ``bare``: its value if none is given."""
    return field(default=healthy, metadata={"row": (least, bare, help)})


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one response. The defaults are a healthy server."""

    status: int = _fault(
        0, 400, 500, "answer with this HTTP status and a JSON error (429, 503: Retry-After)"
    )
    retry_after: float = _fault(-1.0, 0, 1, "seconds in the Retry-After of status=429 and 503")
    html: int = _fault(0, 200, 502, "a proxy's HTML page with this status")
    disconnect: bool = _fault(False, 0, 1, "close the connection without a response")
    slow_head: float = _fault(0.0, 0, 1, "seconds before the response's head")
    error: int = _fault(-1, 0, 1, "an error event in the 200 stream after K events, and its end")
    cut: int = _fault(-1, 0, 1, "close the connection after K events")
    reset: int = _fault(-1, 0, 1, "reset the connection (RST) after K events")
    stall: int = _fault(
        -1, 0, 1, "send nothing after K events, for stall_s (0: until the client disconnects)"
    )
    stall_s: float = _fault(0.0, 0, 5, "see stall; then the stream continues")
    broken_json: int = _fault(-1, 0, 1, "event K is not JSON")
    empty: bool = _fault(False, 0, 1, "a 200 stream without a token")
    no_usage: bool = _fault(False, 0, 1, "no usage, even if requested")
    no_done: bool = _fault(False, 0, 1, "finish reason and a clean end of the body, no end marker")
    no_end: bool = _fault(False, 0, 1, "no finish reason, no end marker; the body ends cleanly")
    usage_with_choices: bool = _fault(False, 0, 1, "the last chunk has usage and choices")
    usage_every: bool = _fault(False, 0, 1, "usage on every chunk")
    tokens_per_chunk: int = _fault(1, 1, 4, "this many tokens in each event")
    empty_text: bool = _fault(False, 0, 1, "token events whose text is empty")
    unicode: bool = _fault(False, 0, 1, "text with multi-byte characters, U+2028, escapes")
    pings: int = _fault(0, 1, 1, "a comment line before every K-th event")
    split: bool = _fault(False, 0, 1, "each event in pieces, cut inside JSON and UTF-8 characters")
    glue: int = _fault(1, 1, 5, "K events in one write")
    crlf: bool = _fault(False, 0, 1, "lines end in CRLF")
    no_space: bool = _fault(False, 0, 1, "`data:` without the space")
    trailing: bool = _fault(False, 0, 1, "more chunks after the end marker")
    short: int = _fault(0, 1, 1, "stop after this many tokens, with finish reason stop")
    limit: int = _fault(0, 1, 1, "stop after this many tokens, with finish reason length")

    @property
    def answers_with_error(self) -> bool:
        return bool(self.status or self.html or self.disconnect)


#: name: (smallest value, value if none is given, description)
HELP: dict[str, tuple[float, float, str]] = {f.name: f.metadata["row"] for f in fields(Faults)}

NONE = Faults()
_TYPES: dict[str, type[bool] | type[int] | type[float]] = {
    name: type(getattr(NONE, name)) for name in HELP
}


def parse_faults(text: str, source: str = "--fault") -> Faults:
    """The Faults of a text such as `cut=3,pings,split`. Raises ConfigError that names `source`."""
    changes: dict[str, int | float | bool] = {}
    for part in text.split(","):
        name, equals, raw = part.strip().partition("=")
        if not name:
            continue
        name = name.replace("-", "_")
        if name not in HELP:
            raise ConfigError(f"{source}: unknown fault {name!r}; allowed: {', '.join(HELP)}")
        low, default, _ = HELP[name]
        try:
            value = float(raw) if equals else default
        except ValueError:
            value = float("nan")
        kind = _TYPES[name]
        high = 599 if name in ("status", "html") else 1e9
        if not low <= value <= high or (kind is not float and value != int(value)):
            raise ConfigError(
                f"{source}: {name}={raw} is not allowed; use a number from {low:g} to {high:g}"
            )
        changes[name] = kind(value)
    return replace(NONE, **changes) if changes else NONE  # type: ignore[arg-type]


def header_faults(environ: Mapping[str, str]) -> Faults | None:
    """The faults requested by this request's header; None without one."""
    text = environ.get("HTTP_X_SIM_FAULT")
    return None if text is None else parse_faults(text, "x-sim-fault")
