"""text-generation-inference: /generate_stream and /generate. No space follows `data:`."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script


class Tgi(Script):
    """The last event has `generated_text` and `details`; then the body ends."""

    done = ()

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt, parameters = body.get("inputs"), body.get("parameters") or {}
        if not isinstance(prompt, str):
            raise Refusal(422, "inputs must be a text", "validation")
        return Ask(
            prompt=prompt,
            prompt_tokens=count(prompt),
            max_tokens=whole(parameters, "max_new_tokens"),
        )

    @classmethod
    def streams(cls, body: Json, path: str) -> bool:
        return path.endswith("_stream") or bool(body.get("stream"))

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        return {
            "error": refusal.message,
            "error_type": "validation" if refusal.status < 500 else "generation",
        }

    def event(self, index: int) -> bytes:
        return self._event(index, b'"generated_text":null,"details":null')

    def _event(self, index: int, rest: bytes) -> bytes:
        token = (
            b'data:{"index":%d,"token":{"id":%d,"text":"%b","logprob":-7.5,"special":false},%b}\n\n'
        )
        return token % (index + 1, index + 100, self.plan.pieces[index], rest)

    def last(self, index: int, finished: bool) -> bytes:
        if not finished:
            return self.event(index)
        details = self._details() if self.ask.give_counts else b"null"
        return self._event(
            index, b'"generated_text":"%b","details":%b' % (self.plan.text(), details)
        )

    def _details(self) -> bytes:
        reason = "length" if self.plan.finish == "length" else "eos_token"
        return orjson.dumps(
            {
                "finish_reason": reason,
                "generated_tokens": self.plan.tokens,
                "seed": None,
                "input_length": self.ask.prompt_tokens,
            }
        )

    def failure(self, message: str) -> Frames:
        return (b'data:{"error":"%b","error_type":"generation"}\n\n' % escaped(message),)

    def whole(self) -> bytes:
        return b'{"generated_text":"%b","details":%b}' % (self.plan.text(), self._details())
