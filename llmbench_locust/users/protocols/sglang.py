"""SGLang's own /generate: each event repeats the whole text so far and counts its tokens."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import text_of
from llmbench_locust.users.protocols.sinks import TextSink, count
from llmbench_locust.workload.sample import SampleRequest


class SGLangSink(TextSink):
    """Keeps only the last text, which includes the earlier ones."""

    def on_object(self, event: Json) -> int:
        meta = as_object(event.get("meta_info"))
        before = max(self.output_tokens, 0)
        counted = count(meta.get("completion_tokens"))
        self.counts(
            output=counted, input=meta.get("prompt_tokens"), cached=meta.get("cached_tokens")
        )
        self._finish(meta.get("finish_reason"))
        text = event.get("text")
        if self.error or not isinstance(text, str):
            return 0
        last = self.pieces.pop() if self.pieces else ""
        grown = text != last
        self.answered = True
        # With --stream-output the server sends only each event's own text.
        self.pieces.extend((text,) if text.startswith(str(last)) else (last, text))
        # From a server that sends no counts, text is the only sign of a token.
        return max(counted - before, 0) if counted >= 0 else int(grown)

    def _finish(self, reason: object) -> None:
        """An object like {"type": "length", "length": 16}; an aborted request's has its error."""
        kind = reason.get("type") if isinstance(reason, dict) else reason
        if kind == "abort" and isinstance(reason, dict):
            self.fail(str(reason.get("message") or "the server aborted the request"))
        self.finish(kind)


class SGLang(Protocol):
    info = BACKENDS["sglang"]
    sink_class = SGLangSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        wanted = {"max_new_tokens": sample.expected_output_len}
        first = sample.prompt[0] if isinstance(sample.prompt, list) and sample.prompt else None
        ids = isinstance(first, int)
        return {
            **({"input_ids": sample.prompt} if ids else {"text": text_of(sample)}),
            "sampling_params": {k: v for k, v in wanted.items() if v is not None},
            "stream": True,
            "lora_path": model if model != self.wire.model else None,
        }
