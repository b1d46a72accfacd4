"""Readers of responses. A backend's sink says which events have tokens; the base class collects
text and counts.

They are fast because plain token events come in batches, and text stays as the received bytes
(still escaped) until it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.options.values import MOST_TOKENS
from llmbench_locust.users.protocols.server_errors import message_of

#: The servers' finish reasons in OpenAI's terms.
FINISH_REASONS = {
    "max_tokens": "length",
    "max_output_tokens": "length",
    "limit": "length",
    "end_turn": "stop",
    "eos_token": "stop",
    "eos": "stop",
    "word": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}


class TextSink:
    """Reads one response, most of which arrives through `on_texts`.

    ``output_tokens``, ``input_tokens``, ``cached_tokens`` (of the input), ``reasoning_tokens``: the
    server's counts, -1 if it gave none. ``server_queue_s``, ``server_ttft_s``: the server's own
    times, NaN if it gave none. ``finish_reason``: in OpenAI's terms. ``error_kind``: of ``error``;
    "server" for an error that the server reported, "protocol" for unparsable data.

    A backend whose events are JSON overrides `on_object`, any other one `on_event`. Each token
    event adds exactly one piece, by `answer`, `reasoning` or `nothing`, so that it is known which
    event began the answer.
    """

    framing = "sse"
    markers: tuple[bytes, ...] = ()
    done_ends = True  # whether ``[DONE]`` is the end marker

    def __init__(self) -> None:
        self.finished = False
        self.error = ""
        self.error_kind = "server"
        self.output_tokens = -1
        self.input_tokens = -1
        self.cached_tokens = -1
        self.reasoning_tokens = -1
        self.server_queue_s = self.server_ttft_s = float("nan")
        self.finish_reason = ""
        self.answered = False
        self.pieces: list[str | bytes] = []
        self.thoughts: list[str | bytes] = []
        self.reasoning_events = 0

    # --- called by the transport

    def on_event(self, data: bytes) -> int:
        event = self.parse(data)
        return 0 if event is None else self.on_object(event)

    def on_texts(self, texts: bytes, ends: Sequence[int]) -> None:
        # Before the answer begins, events like the previous one are reasoning; see `answer`.
        pieces = self.pieces if self.answered else self.thoughts
        # The number of pieces is that of events: the first holds the text of all.
        pieces.append(texts)
        pieces.extend([b""] * (len(ends) - 1))

    def on_body(self, body: bytes) -> None:
        """A whole body although a stream was requested."""
        said = message_of(body)
        self.fail(said or "one body instead of a stream", "server" if said else "protocol")

    # --- overridden or used by backends

    def on_object(self, event: Json) -> int:
        """An event that is neither ``[DONE]`` nor an error. Returns what `on_event` does."""
        raise NotImplementedError

    def parse(self, data: bytes) -> Json | None:
        """The event as an object. None for ``[DONE]``, and, with ``error`` set, for an error."""
        if data.strip() == b"[DONE]":
            self.finished = self.finished or self.done_ends
            return None
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event, what = None, "JSON"
        else:
            what = "a JSON object"
        if not isinstance(event, dict):
            start = data[:80].decode("utf-8", "replace")
            self.fail(f"an event is not {what}: {start!r}", "protocol")
            return None
        return None if self.reports_error(event) else event

    def reports_error(self, document: Json) -> bool:
        """Whether the server sent an error; stores it."""
        found = bool(document.get("error")) or document.get("object") == "error"
        if found:
            self.fail(message_of(document) or "an error without a message")
        return found

    def fail(self, error: str, kind: str = "server") -> None:
        """Keep the first error."""
        if not self.error:
            self.error = error
            self.error_kind = kind

    def answer(self, piece: str) -> None:
        """The piece of a token event that belongs to the answer."""
        if not self.answered:
            self.answered = True
            # Empty events before the answer belong to the reasoning, if there was any.
            self.reasoning_events = len(self.thoughts) + len(self.pieces) if self.thoughts else 0
        self.pieces.append(piece)

    def nothing(self) -> None:
        """A token event without text."""
        self.pieces.append("")

    def reasoning(self, piece: str) -> bool:
        """A piece of reasoning. Returns whether the next event like it may use `on_texts`."""
        self.thoughts.append(piece)
        return not self.answered

    def counts(self, **told: object) -> None:
        """Store the server's token counts, if given: ``output``, ``input``, ``cached``,
        ``reasoning``.
        """
        for name, value in told.items():
            if (n := count(value)) >= 0:
                setattr(self, f"{name}_tokens", n)

    def finish(self, reason: object) -> None:
        if reason:
            self.finish_reason = FINISH_REASONS.get(str(reason), str(reason))

    # --- results

    @property
    def ended(self) -> bool:
        """Whether there was an end marker or a finish reason."""
        return self.finished or bool(self.finish_reason)

    def text(self, *, reasoning: bool = False) -> str:
        """The answer's text; with ``reasoning``, preceded by the reasoning."""
        pieces = [*self.thoughts, *self.pieces] if reasoning else self.pieces
        return "".join(_unescape(piece) for piece in pieces if piece)


class BodySink(TextSink):
    """One JSON body without tokens: pooling. ``usage`` as in OpenAI's responses."""

    framing = "plain"

    def on_event(self, data: bytes) -> int:
        return 0

    def on_body(self, body: bytes) -> None:
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            self.fail(f"the response is not JSON: {message_of(body)[:80]!r}", "protocol")
            return
        if isinstance(found, dict):
            if self.reports_error(found):
                return
            self.usage(found.get("usage"))
        self.finished = True

    def usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            prompt = count(usage.get("prompt_tokens"))
            self.input_tokens = prompt if prompt >= 0 else count(usage.get("total_tokens"))


class BytesSink(BodySink):
    """One body that was requested as bytes instead of JSON; it only has to be complete."""

    def on_body(self, body: bytes) -> None:
        self.finished = True


def count(value: object) -> int:
    """A token count of a response, -1 for anything else, and for what no response can have."""
    if not isinstance(value, int) or isinstance(value, bool):
        return -1
    return value if 0 <= value <= MOST_TOKENS else -1


def seconds(milliseconds: object) -> float:
    """Milliseconds as seconds; NaN for anything but a number."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return float("nan")
    return milliseconds / 1e3


def _unescape(piece: str | bytes) -> str:
    if isinstance(piece, str):
        return piece
    try:
        return str(orjson.loads(b'"%b"' % piece))
    except orjson.JSONDecodeError:
        return piece.decode("utf-8", "replace")
