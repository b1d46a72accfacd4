"""Base of the protocols: a script makes a response's bytes, the clock decides when to send them."""

from __future__ import annotations

import time
from typing import ClassVar

import orjson

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import Plan, escaped

Frames = tuple[bytes, ...]


class Script:
    """The events of one response as bytes, each with its blank line, without HTTP framing."""

    media: ClassVar[bytes] = b"text/event-stream; charset=utf-8"
    generates: ClassVar[bool] = True  # False: pooling, one body and no tokens
    multipart: ClassVar[bool] = False
    reasons: ClassVar[bool] = False  # supports reasoning
    tools: ClassVar[bool] = False  # supports tool calls
    done: Frames = (b"data: [DONE]\n\n",)  # the end marker

    def __init__(self, ask: Ask, plan: Plan, ident: str, usage_with_choices: bool = False) -> None:
        self.ask = ask
        self.plan = plan
        self.ident = ident
        self.created = int(time.time())
        self.usage_with_choices = usage_with_choices
        #: Arrival, first scheduled, first and last token; set before the last event.
        self.times: tuple[float, float | None, float | None, float] | None = None
        self.prepare()

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        """Read the request. Raises Refusal."""
        raise NotImplementedError

    @classmethod
    def streams(cls, body: Json, path: str) -> bool:
        """Whether a stream was requested."""
        return cls.generates and bool(body.get("stream"))

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        """The JSON of an error status; vLLM's if the protocol does not define one."""
        return refusal.body()

    def prepare(self) -> None:
        """Build the common parts of all events once."""

    def opening(self) -> Frames:
        """Events that are sent as soon as the request is accepted."""
        return ()

    def lead(self) -> Frames:
        """Events sent just before the first token."""
        return ()

    def event(self, index: int) -> bytes:
        """The token event `index`."""
        raise NotImplementedError

    def last(self, index: int, finished: bool) -> bytes:
        """The last token event; `finished`: False leaves out the finish reason."""
        return self.event(index)

    def closing(self) -> Frames:
        """Events between the last token and the end marker."""
        return ()

    def failure(self, message: str) -> Frames:
        """The error event in a stream with status 200, and the events after it."""
        return (
            b"data: "
            b'{"error":{"message":"%b","type":"InternalServerError","param":null,"code":500}}\n\n'
            % escaped(message),
            *self.done,
        )

    def whole(self) -> bytes:
        """The body if no stream was requested."""
        raise NotImplementedError

    def usage(self, completion: int) -> bytes:
        prompt = self.ask.prompt_tokens
        completion *= self.ask.choices
        details = b""
        if self.ask.cached_tokens is not None:
            details = b',"prompt_tokens_details":{"cached_tokens":%d}' % self.ask.cached_tokens
        return b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d%b}%b' % (
            prompt,
            prompt + completion,
            completion,
            details,
            self._metrics(completion) if self.ask.tell_times else b"",
        )

    def _metrics(self, tokens: int) -> bytes:
        """vLLM's per-request `metrics`; its TTFT starts when the request is first scheduled."""
        if self.times is None or None in self.times:
            return b""
        arrival, scheduled, first, last = self.times
        assert scheduled is not None
        assert first is not None
        found = {
            "queue_time_ms": (scheduled - arrival) * 1e3,
            "time_to_first_token_ms": (first - scheduled) * 1e3,
            "generation_time_ms": (last - first) * 1e3,
        }
        if tokens > 1:
            found["mean_itl_ms"] = found["generation_time_ms"] / (tokens - 1)
        return b',"metrics":' + orjson.dumps(found)

    def string(self, escaped_text: bytes) -> str:
        """The text of JSON-escaped bytes."""
        text: str = orjson.loads(b'"%b"' % escaped_text)
        return text
