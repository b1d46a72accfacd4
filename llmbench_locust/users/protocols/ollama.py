"""Ollama's /api/generate and /api/chat: a JSON object on each line."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import plain_messages, text_of
from llmbench_locust.users.protocols.sinks import TextSink
from llmbench_locust.workload.sample import SampleRequest


class OllamaSink(TextSink):
    """The last line has ``done`` true and the counts. Each line has its own time."""

    framing = "ndjson"
    markers = (b'"response":"', b'"content":"')

    def on_object(self, event: Json) -> int:
        message = event.get("message")
        source = message if isinstance(message, dict) else event
        text = source.get("content" if source is message else "response")
        done = bool(event.get("done"))
        if done:
            self.finished = True
            self.counts(output=event.get("eval_count"), input=event.get("prompt_eval_count"))
            self.finish(event.get("done_reason") or "stop")
        if source.get("tool_calls"):
            self.answer(f"{text or ''}{_calls(source['tool_calls'])}")
            return 1
        if text:
            self.answer(str(text))
            return 1 if done or source.get("thinking") or not isinstance(text, str) else -1
        if source.get("thinking"):
            self.reasoning(str(source["thinking"]))
            return 1
        if done or text is None:
            return 0
        self.nothing()
        return 1


def _calls(calls: object) -> str:
    calls = calls if isinstance(calls, list) else []
    found = (call.get("function") for call in calls if isinstance(call, dict))
    named = (f for f in found if isinstance(f, dict))
    return "".join(f"{f.get('name') or ''}{f.get('arguments') or ''}" for f in named)


class Ollama(Protocol):
    """The endpoint decides which of the two it is."""

    info = BACKENDS["ollama"]
    sink_class = OllamaSink
    renamed = {"repetition_penalty": "repeat_penalty"}

    def body(self, sample: SampleRequest, model: str) -> Json:
        chat = self.wire.endpoint.partition("?")[0].rstrip("/").endswith("chat")
        wanted = {"num_predict": sample.expected_output_len}
        return {
            "model": model,
            **({"messages": plain_messages(sample)} if chat else {"prompt": text_of(sample)}),
            "stream": True,
            "options": {name: n for name, n in wanted.items() if n is not None},
        }
