"""Anthropic's /v1/messages: named events; input is counted at the start, output at the end."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import message_text, plain_messages
from llmbench_locust.users.protocols.sinks import TextSink, count
from llmbench_locust.workload.sample import SampleRequest

# The protocol requires a limit; used for samples without an output length.
_MOST_TOKENS = 4096
_VERSION = "2023-06-01"
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")
_PLAIN = {"type", "index", "delta"}


class AnthropicSink(TextSink):
    markers = (b'"text":"', b'"thinking":"', b'"partial_json":"')

    def on_object(self, event: Json) -> int:
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "message_start":
            self._usage(as_object(event.get("message")).get("usage"))
        elif kind == "message_delta":
            self.finish(as_object(event.get("delta")).get("stop_reason"))
            self._usage(event.get("usage"), ended=True)
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            self.fail("an error without a message")
        return 0

    def _delta(self, event: Json) -> int:
        delta = as_object(event.get("delta"))
        like_others = event.keys() <= _PLAIN and len(delta) == 2
        kind = delta.get("type")
        if kind == "text_delta":
            self.answer(str(delta.get("text") or ""))
        elif kind == "input_json_delta":
            self.answer(str(delta.get("partial_json") or ""))
        elif kind == "thinking_delta":
            like_others = self.reasoning(str(delta.get("thinking") or "")) and like_others
        else:
            return 0  # signatures, citations
        return -1 if like_others else 1

    def _usage(self, usage: object, ended: bool = False) -> None:
        if not isinstance(usage, dict):
            return
        if (n := count(usage.get("input_tokens"))) >= 0:
            # Tokens from the prefix cache are not included.
            self.input_tokens = n + sum(max(count(usage.get(name)), 0) for name in _CACHED)
            self.cached_tokens = count(usage.get(_CACHED[0]))
        # The output count of the first event is provisional.
        self.counts(output=usage.get("output_tokens") if ended else None)


class Anthropic(Protocol):
    info = BACKENDS["anthropic"]
    sink_class = AnthropicSink

    def headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/json", "anthropic-version": _VERSION}
        if self.wire.api_key:
            found["x-api-key"] = self.wire.api_key
        return found

    def body(self, sample: SampleRequest, model: str) -> Json:
        messages = plain_messages(sample)
        system = [m for m in messages if m.get("role") in ("system", "developer")]
        wanted = sample.expected_output_len
        return {
            "model": model,
            "max_tokens": _MOST_TOKENS if wanted is None else wanted,
            "system": "\n\n".join(message_text(m) for m in system) or None,
            "messages": [m for m in messages if m not in system] if system else messages,
            "stream": True,
        }
