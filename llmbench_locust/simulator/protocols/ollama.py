"""Ollama's /api/generate and /api/chat: lines of JSON, streamed unless `stream` is false."""

from __future__ import annotations

import time

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script


class OllamaGenerate(Script):
    """The last line has `done` true and the counts."""

    media = b"application/x-ndjson"
    reasons = True

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt = body.get("prompt")
        if not isinstance(prompt, str):
            raise Refusal(400, "prompt must be a text")
        return cls._ask(body, prompt, count(prompt))

    @classmethod
    def _ask(cls, body: Json, prompt: object, tokens: int) -> Ask:
        options = body.get("options") or {}
        wanted = options.get("num_predict")
        unlimited = wanted in (-1, -2)
        return Ask(
            prompt=prompt,
            prompt_tokens=tokens,
            max_tokens=None if unlimited else whole(options, "num_predict"),
        )

    @classmethod
    def streams(cls, body: Json, path: str) -> bool:
        return body.get("stream") is not False

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        return {"error": refusal.message}

    def prepare(self) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.created))
        self.start = b'{"model":"%b","created_at":"%b.000000Z",' % (
            escaped(self.ask.model),
            moment.encode(),
        )
        self.begun = time.monotonic()

    def _content(self, text: bytes, thought: bytes | None) -> bytes:
        """The field with the text; `thought` is None if the line is not reasoning."""
        return b'"response":"%b"' % text + (
            b"" if thought is None else b',"thinking":"%b"' % thought
        )

    def event(self, index: int) -> bytes:
        piece = self.plan.pieces[index]
        content = (
            self._content(b"", piece) if index < self.plan.reasoning else self._content(piece, None)
        )
        return b'%b%b,"done":false}\n' % (self.start, content)

    @property
    def done(self) -> Frames:  # type: ignore[override]
        return (self._final(b"", None) + b"\n",)

    def _final(self, text: bytes, thought: bytes | None) -> bytes:
        spent = int((time.monotonic() - self.begun) * 1e9)
        reason = b"length" if self.plan.finish == "length" else b"stop"
        counts = b""
        if self.ask.give_counts:
            counts = b',"prompt_eval_count":%d,"eval_count":%d' % (
                self.ask.prompt_tokens,
                self.plan.tokens,
            )
        return (
            b'%b%b,"done":true,"done_reason":"%b","total_duration":%d,"load_duration":0%b,"eval_duration":%d}'
            % (self.start, self._content(text, thought), reason, spent, counts, spent)
        )

    def failure(self, message: str) -> Frames:
        return (b'{"error":"%b"}\n' % escaped(message),)

    def whole(self) -> bytes:
        plan = self.plan
        return self._final(
            plan.text(plan.reasoning), plan.text(0, plan.reasoning) if plan.reasoning else None
        )


class OllamaChat(OllamaGenerate):
    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt, turns = message_turns(body.get("messages"))
        return cls._ask(body, prompt, count.chat(turns))

    def _content(self, text: bytes, thought: bytes | None) -> bytes:
        more = b"" if thought is None else b',"thinking":"%b"' % thought
        return b'"message":{"role":"assistant","content":"%b"%b}' % (text, more)
