"""Text Generation Inference's own /generate_stream."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import text_of
from llmbench_locust.users.protocols.sinks import TextSink
from llmbench_locust.workload.sample import SampleRequest

# TGI rejects a temperature of 0 and a top_p of 1; vLLM sends these values instead.
_COLDEST = 0.01
_WIDEST = 0.99


class TGISink(TextSink):
    """Each event is one token with id and log probability, so that it differs and is parsed."""

    def on_object(self, event: Json) -> int:
        details = event.get("details")
        if isinstance(details, dict):
            tokens = details.get("generated_tokens")
            self.counts(output=tokens, input=details.get("input_length"))
            self.finish(details.get("finish_reason"))
        if event.get("generated_text") is not None:
            self.finished = True
        token = event.get("token")
        if not isinstance(token, dict):
            return 0
        # A special token (the end of the text) is a token, but not part of the text.
        self.answer("" if token.get("special") else str(token.get("text") or ""))
        return 1


class TGI(Protocol):
    info = BACKENDS["tgi"]
    sink_class = TGISink

    def body(self, sample: SampleRequest, model: str) -> Json:
        parameters: Json = {
            "max_new_tokens": sample.expected_output_len,
            "do_sample": True,
            "temperature": _COLDEST,
            "top_p": _WIDEST,
            "truncate": sample.prompt_len or None,
            # Without this field the last event has no counts.
            "details": True,
            "adapter_id": model if model != self.wire.model else None,
        }
        return {
            "inputs": text_of(sample),
            "parameters": {k: v for k, v in parameters.items() if v is not None},
        }

    def sampling(self) -> Json:
        found = super().sampling()
        if "temperature" in found:
            found["temperature"] = max(found["temperature"], _COLDEST)
        if "top_p" in found:
            found["top_p"] = min(found["top_p"], _WIDEST)
        if found.get("top_k", 1) < 1:  # none, in vLLM's terms
            del found["top_k"]
        return found
