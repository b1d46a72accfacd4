"""The interface between transport and protocols: what the transport needs from a response reader.

The transport handles framing and times; a `Sink` parses one backend's events. It sees each event
once, in order, possibly long after it arrived (the transport keeps the time), and returns the
number of tokens in the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Sink(Protocol):
    """Reads one response. One instance for each exchange.

    ``framing``: "sse" (events), "ndjson" (lines) or "plain" (one body, no token events).
    ``markers``: JSON keys whose string value is the only difference between two plain token events
    (for instance ``(b'"text":"',)``, spacing aside). The transport may then recognise an event
    that equals the last fully parsed *plain* one except for that string, and call `on_texts`
    instead of `on_event`. Empty: each event is parsed. ``finished``: the backend's end marker was
    seen; the transport ignores later events. ``error``: the server's message if it reported an
    error inside the stream.
    """

    framing: str
    markers: tuple[bytes, ...]
    finished: bool
    error: str

    def on_event(self, data: bytes) -> int:
        """One whole event. Returns its number of tokens: 0 for none (role, usage, ping, end), -1
        for a *plain* event of one token, from which the next may differ only in the text. Bad
        input sets ``error`` and never raises.
        """
        ...

    def on_texts(self, texts: bytes, ends: Sequence[int]) -> None:
        """Plain token events from the fast path. ``texts``: the still escaped contents of their
        JSON strings, concatenated; ``ends``: the end of each.
        """
        ...

    def on_body(self, body: bytes) -> None:
        """The whole body of a 200 response with ``framing`` "plain". Sets ``finished`` or
        ``error``.
        """
        ...
