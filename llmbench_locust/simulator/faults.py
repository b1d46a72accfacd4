"""Faults that real servers have shown, by name. Flags put them on a share of all requests, the
header `x-sim-fault` on one.

A fault is written `name` or `name=value`; several are separated by commas. K counts token events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from llmbench_locust.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with one answer. The defaults are a healthy server."""

    status: int = 0
    retry_after: float = -1.0
    html: int = 0
    disconnect: bool = False
    slow_head: float = 0.0
    error: int = -1
    cut: int = -1
    reset: int = -1
    stall: int = -1
    stall_s: float = 0.0
    broken_json: int = -1
    empty: bool = False
    no_usage: bool = False
    no_done: bool = False
    no_end: bool = False
    usage_with_choices: bool = False
    usage_every: bool = False
    tokens_per_chunk: int = 1
    empty_text: bool = False
    unicode: bool = False
    pings: int = 0
    split: bool = False
    glue: int = 1
    crlf: bool = False
    no_space: bool = False
    trailing: bool = False
    short: int = 0

    @property
    def answers_with_error(self) -> bool:
        return bool(self.status or self.html or self.disconnect)


#: name: (smallest value, value when none is given, what it does)
HELP: dict[str, tuple[float, float, str]] = {
    "status": (
        400,
        500,
        "answer with this HTTP status and the server's JSON error (429 and 503 with Retry-After)",
    ),
    "retry_after": (0, 1, "seconds in the Retry-After of status=429 and 503"),
    "html": (200, 502, "a proxy's HTML page with this status"),
    "disconnect": (0, 1, "close the connection without an answer"),
    "slow_head": (0, 1, "seconds before the response's head"),
    "error": (0, 1, "an error event in the 200 stream after K events, then its end"),
    "cut": (0, 1, "close the connection after K events"),
    "reset": (0, 1, "reset the connection (RST) after K events"),
    "stall": (
        0,
        1,
        "send nothing more after K events, for stall_s seconds (0: until the client goes)",
    ),
    "stall_s": (0, 5, "see stall; the stream then goes on"),
    "broken_json": (0, 1, "event K is no JSON"),
    "empty": (0, 1, "a 200 stream without one token"),
    "no_usage": (0, 1, "no usage, whatever was asked for"),
    "no_done": (0, 1, "finish reason, then a clean end of the body, but no end marker"),
    "no_end": (0, 1, "neither finish reason nor end marker; the body ends cleanly"),
    "usage_with_choices": (0, 1, "usage stands in the last chunk, which also has choices"),
    "usage_every": (0, 1, "usage on every chunk"),
    "tokens_per_chunk": (1, 4, "this many tokens in each event"),
    "empty_text": (0, 1, "token events whose text is empty"),
    "unicode": (0, 1, "text of many-byte characters, U+2028, escapes"),
    "pings": (1, 1, "a comment line before every K-th event"),
    "split": (
        0,
        1,
        "each event in pieces, cut inside its JSON and inside a UTF-8 character where it has one",
    ),
    "glue": (1, 5, "K events in one write"),
    "crlf": (0, 1, "lines end in CRLF"),
    "no_space": (0, 1, "`data:` without the blank"),
    "trailing": (0, 1, "more chunks after the end marker"),
    "short": (1, 1, "stop after this many tokens, with finish reason stop"),
}

NONE = Faults()
_TYPES: dict[str, type[bool] | type[int] | type[float]] = {
    field.name: type(getattr(NONE, field.name)) for field in fields(Faults)
}


def parse_faults(text: str, source: str = "--fault") -> Faults:
    """`cut=3,pings,split` → Faults. Raises ConfigError that names `source`."""
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
                f"{source}: {name}={raw} is not allowed; a number from {low:g} to {high:g}"
            )
        changes[name] = kind(value)
    return replace(NONE, **changes) if changes else NONE  # type: ignore[arg-type]


def header_faults(environ: Mapping[str, str]) -> Faults | None:
    """The faults that this one request asks for; None when it names none."""
    text = environ.get("HTTP_X_SIM_FAULT")
    return None if text is None else parse_faults(text, "x-sim-fault")
