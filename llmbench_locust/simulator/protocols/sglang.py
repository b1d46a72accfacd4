"""SGLang's native /generate: each event repeats the full text so far."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.protocols.completions import prompt_tokens


class Sglang(Script):
    """`meta_info` has the counts; `[DONE]` ends the stream."""

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt = body.get("text") if body.get("text") is not None else body.get("input_ids")
        sampling = body.get("sampling_params") or {}
        return Ask(
            prompt=prompt,
            prompt_tokens=prompt_tokens(prompt, count),
            max_tokens=whole(sampling, "max_new_tokens"),
            ignore_eos=bool(sampling.get("ignore_eos")),
        )

    def prepare(self) -> None:
        self.meta = b'"meta_info":{"id":"%b","finish_reason":' % escaped(self.ident)
        self.so_far = b""
        self.shown = 0

    def _text(self, index: int) -> bytes:
        if index == self.shown:
            self.so_far += self.plan.pieces[index]
            self.shown += 1
            return self.so_far
        return self.plan.text(0, index + 1)

    def event(self, index: int) -> bytes:
        return b"data: %b\n\n" % self._answer(self._text(index), index, b"null")

    def last(self, index: int, finished: bool) -> bytes:
        return b"data: %b\n\n" % self._answer(
            self._text(index), index, self._finish() if finished else b"null"
        )

    def _finish(self) -> bytes:
        if self.plan.finish == "length":
            return orjson.dumps({"type": "length", "length": self.plan.tokens})
        return orjson.dumps({"type": "stop", "matched": 2})

    def _answer(self, text: bytes, index: int, finish: bytes) -> bytes:
        counts = b""
        if self.ask.give_counts:
            counts = b',"prompt_tokens":%d,"completion_tokens":%d,"cached_tokens":0' % (
                self.ask.prompt_tokens,
                self.plan.tokens_after(index),
            )
        return b'{"text":"%b",%b%b%b,"weight_version":"default"}}' % (
            text,
            self.meta,
            finish,
            counts,
        )

    def whole(self) -> bytes:
        return self._answer(self.plan.text(), len(self.plan.pieces) - 1, self._finish())
