"""The seam between bytes and protocols: what the transport needs of a reader of an answer.

The transport knows framing and time; a `Sink` knows one backend's events. It sees each event once,
in order, long after it arrived (the time is kept by the transport), and says how many tokens the
event carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Sink(Protocol):
    """Reads one answer. One instance for each exchange.

    ``framing``: "sse" (events), "ndjson" (lines) or "plain" (one body, no token events).
    ``markers``: JSON keys whose string value is the only thing that differs between two plain token
    events (for instance ``(b'"text":"',)``, spacing aside). The transport may then recognise an
    event that equals the last fully parsed *plain* one but for that string, and call `on_texts`
    in place of `on_event`. Empty: each event is parsed. ``finished``: the backend's end marker was
    seen; events after it are ignored by the transport. ``error``: not empty when the server
    reported an error inside the stream (its own message).
    """

    framing: str
    markers: tuple[bytes, ...]
    finished: bool
    error: str

    def on_event(self, data: bytes) -> int:
        """One whole event. Returns the tokens that it carried: 0 for none (role, usage, ping, end),
        -1 for a *plain* token event of one token: nothing but the text may differ in the next one
        like it. Bad input sets ``error``, never raises.
        """
        ...

    def on_texts(self, texts: bytes, ends: Sequence[int]) -> None:
        """Plain token events by the fast path. ``texts``: the still escaped contents of their JSON
        strings, one after the other; ``ends``: where each ends.
        """
        ...

    def on_body(self, body: bytes) -> None:
        """The whole body of an answer of status 200 with ``framing`` "plain". Sets ``finished`` or
        ``error``.
        """
        ...
