"""TensorRT-LLM behind Triton: /v2/models/ensemble/generate_stream."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import text_of
from llmbench_locust.users.protocols.sinks import TextSink
from llmbench_locust.workload.sample import SampleRequest


class TensorRTLLMSink(TextSink):
    """Only the end of the body marks the end, and there are no counts.

    ``accumulates``: each event repeats the text so far.
    """

    def __init__(self, accumulates: bool = False) -> None:
        super().__init__()
        self._accumulates = accumulates
        self.markers = () if accumulates else (b'"text_output":"',)

    @property
    def ended(self) -> bool:
        return True

    def on_object(self, event: Json) -> int:
        text = event.get("text_output")
        if text is None:
            return 0
        if self._accumulates:
            self.pieces.clear()
        self.answer(str(text))
        return 1 if self._accumulates or not isinstance(text, str) else -1


class TensorRTLLM(Protocol):
    info = BACKENDS["tensorrt-llm"]
    sink_class = TensorRTLLMSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {
            "text_input": text_of(sample),
            "max_tokens": sample.expected_output_len,
            "temperature": 0.0,
            "top_p": 1.0,
            # Only each event's own text: repeating the earlier text costs the square of the
            # length.
            "accumulate_tokens": False,
            "stream": True,
        }

    def sink(self, sample: SampleRequest) -> TextSink:
        fields = self.wire.extra_body | (sample.body_overrides or {})
        return TensorRTLLMSink(bool(fields.get("accumulate_tokens")))
