"""TensorRT-LLM behind Triton: /v2/models/ensemble/generate_stream and /generate."""

from __future__ import annotations

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script


class TensorRt(Script):
    """No end marker, no counts. With `accumulate_tokens` each event repeats the text so far."""

    done = ()

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt = body.get("text_input")
        if not isinstance(prompt, str):
            raise Refusal(400, "text_input must be a text")
        return Ask(
            prompt=prompt,
            prompt_tokens=count(prompt),
            max_tokens=whole(body, "max_tokens"),
            accumulate=bool(body.get("accumulate_tokens")),
        )

    @classmethod
    def streams(cls, body: Json, path: str) -> bool:
        return path.endswith("_stream")

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        return {"error": refusal.message}

    def prepare(self) -> None:
        self.start = (
            b'{"context_logits":0.0,"cum_log_probs":0.0,"generation_logits":0.0,"model_name":"ensemble","model_version":"1",'
            b'"output_log_probs":[0.0],"sequence_end":false,"sequence_id":0,"sequence_start":false,"text_output":"'
        )

    def event(self, index: int) -> bytes:
        text = self.plan.text(0, index + 1) if self.ask.accumulate else self.plan.pieces[index]
        return b'data: %b%b"}\n\n' % (self.start, text)

    def failure(self, message: str) -> Frames:
        return (b'data: {"error":"%b"}\n\n' % escaped(message),)

    def whole(self) -> bytes:
        return self.start + self.plan.text() + b'"}'
