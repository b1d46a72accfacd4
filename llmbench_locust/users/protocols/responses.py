"""OpenAI's responses API: named events; the last event has the counts."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import own_messages, text_of
from llmbench_locust.users.protocols.server_errors import message_of
from llmbench_locust.users.protocols.sinks import TextSink
from llmbench_locust.workload.sample import SampleRequest


class ResponsesSink(TextSink):
    """Each event has a ``sequence_number``, so that it differs and is parsed."""

    done_ends = False

    def on_object(self, event: Json) -> int:
        kind = event.get("type")
        if kind in ("response.output_text.delta", "response.function_call_arguments.delta"):
            self.answer(str(event.get("delta") or ""))
            return 1
        if kind == "response.reasoning_text.delta":
            self.reasoning(str(event.get("delta") or ""))
            return 1
        response = as_object(event.get("response"))
        if kind in ("response.completed", "response.incomplete"):
            self._end(kind, response)
        elif kind == "error":
            self.fail(message_of(event.get("message")) or message_of(event))
        elif kind in ("response.failed", "response.cancelled"):
            self.fail(message_of(response.get("error")) or f"the server sent {kind}")
        return 0

    def _end(self, kind: str, response: Json) -> None:
        usage = as_object(response.get("usage"))
        self.counts(
            output=usage.get("output_tokens"),
            input=usage.get("input_tokens"),
            cached=as_object(usage.get("input_tokens_details")).get("cached_tokens"),
            reasoning=as_object(usage.get("output_tokens_details")).get("reasoning_tokens"),
        )
        reason = as_object(response.get("incomplete_details")).get("reason")
        cut = kind == "response.incomplete" or response.get("status") == "incomplete"
        self.finish(reason or ("length" if cut else "stop"))
        self.finished = True


class Responses(Protocol):
    info = BACKENDS["openai-responses"]
    sink_class = ResponsesSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        messages = own_messages(sample)
        return {
            "model": model,
            "input": text_of(sample) if messages is None else messages,
            "max_output_tokens": sample.expected_output_len,
            "stream": True,
            "store": False,
        }
