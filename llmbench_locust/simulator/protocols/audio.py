"""OpenAI's audio transcriptions and translations, as vLLM streams them."""

from __future__ import annotations

import hashlib
import io
import math
import wave

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, Refusal
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script

#: An encoder's positions for a second of sound, which stand for prompt tokens here.
_TOKENS_PER_SECOND = 50


def seconds_of(audio: bytes) -> float:
    """Length of a WAV file; 0 for another format."""
    try:
        with wave.open(io.BytesIO(audio)) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return 0.0


def truth(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes", "on")


class Transcription(Script):
    multipart = True

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        audio = body.get("file")
        if not isinstance(audio, bytes) or not audio:
            raise Refusal(400, "file must be an uploaded audio file.", param="file")
        wanted = body.get("max_completion_tokens")
        if wanted is not None and not (str(wanted).isdecimal() and int(wanted)):
            raise Refusal(
                400,
                f"max_completion_tokens must be at least 1, got {wanted!r}.",
                param="max_completion_tokens",
            )
        every = truth(body.get("stream_continuous_usage_stats"))
        return Ask(
            prompt=hashlib.sha256(audio).hexdigest(),
            prompt_tokens=max(1, math.ceil(seconds_of(audio) * _TOKENS_PER_SECOND)),
            max_tokens=None if wanted is None else int(wanted),
            include_usage=every or truth(body.get("stream_include_usage")),
            continuous_usage=every,
        )

    @classmethod
    def streams(cls, body: Json, path: str) -> bool:
        return truth(body.get("stream"))

    def prepare(self) -> None:
        self.head = (
            b'{"id":"%b","object":"transcription.chunk","created":%d,"model":"%b","choices":['
            % (
                escaped("trsc-" + self.ident),
                self.created,
                escaped(self.ask.model),
            )
        )
        self.start = b"data: " + self.head + b'{"delta":{"content":"'
        self.every = self.ask.continuous_usage

    def event(self, index: int) -> bytes:
        return self._event(index, b"null", self.every)

    def last(self, index: int, finished: bool) -> bytes:
        finish = b'"%b"' % self.plan.finish.encode() if finished else b"null"
        return self._event(index, finish, self.every or self.usage_with_choices)

    def _event(self, index: int, finish: bytes, usage: bool) -> bytes:
        end = b'"},"finish_reason":%b,"stop_reason":null}]' % finish
        tail = b"," + self.usage(self.plan.tokens_after(index)) if usage else b""
        return self.start + self.plan.pieces[index] + end + tail + b"}\n\n"

    def closing(self) -> Frames:
        if not self.ask.include_usage or self.usage_with_choices:
            return ()
        return (b"data: %b],%b}\n\n" % (self.head, self.usage(self.plan.tokens)),)

    def whole(self) -> bytes:
        seconds = math.ceil(self.ask.prompt_tokens / _TOKENS_PER_SECOND)
        return orjson.dumps(
            {
                "text": self.string(self.plan.text()),
                "usage": {"type": "duration", "seconds": seconds},
            }
        )
