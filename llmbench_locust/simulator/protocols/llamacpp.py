"""llama.cpp's native /completion."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script
from llmbench_locust.simulator.protocols.completions import prompt_tokens


class LlamaCpp(Script):
    """The last event has empty content, `stop` true and the counts; no `[DONE]`."""

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt = body.get("prompt")
        wanted = body.get("n_predict")
        return Ask(
            prompt=prompt,
            prompt_tokens=prompt_tokens(prompt, count),
            max_tokens=None if wanted == -1 else whole(body, "n_predict"),
        )

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        return {"error": {"code": refusal.status, "message": refusal.message, "type": kind}}

    def event(self, index: int) -> bytes:
        return b'data: {"index":0,"content":"%b","tokens":[%d],"stop":false,"id_slot":0,%b}\n\n' % (
            self.plan.pieces[index],
            index + 100,
            self._counts(self.plan.tokens_after(index)),
        )

    def _counts(self, predicted: int) -> bytes:
        return b'"tokens_predicted":%d,"tokens_evaluated":%d' % (predicted, self.ask.prompt_tokens)

    def _final(self, text: bytes) -> bytes:
        kind = b"limit" if self.plan.finish == "length" else b"eos"
        counts = b"," + self._counts(self.plan.tokens) if self.ask.give_counts else b""
        return (
            b'{"index":0,"content":"%b","tokens":[],"id_slot":0,"stop":true,"model":"%b"%b,"generation_settings":{},"prompt":%b,'
            b'"has_new_line":false,"truncated":false,"stop_type":"%b","stopping_word":"","tokens_cached":%d,"timings":{}}'
        ) % (
            text,
            escaped(self.ask.model),
            counts,
            orjson.dumps(self.ask.prompt if isinstance(self.ask.prompt, str) else ""),
            kind,
            self.ask.prompt_tokens + self.plan.tokens,
        )

    @property
    def done(self) -> Frames:  # type: ignore[override]
        return (b"data: %b\n\n" % self._final(b""),)

    def failure(self, message: str) -> Frames:
        return (
            b'data: {"error":{"code":500,"message":"%b","type":"server_error"}}\n\n'
            % escaped(message),
        )

    def whole(self) -> bytes:
        return self._final(self.plan.text())
