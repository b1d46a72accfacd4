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
from llmbench_locust.simulator.protocols.completions import OpenAIScript

#: An encoder's positions per second of sound, which count as prompt tokens here.
_TOKENS_PER_SECOND = 50


def seconds_of(audio: bytes) -> float:
    """Duration of a WAV file in seconds; 0 for other formats."""
    try:
        with wave.open(io.BytesIO(audio)) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return 0.0


def truth(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes", "on")


class Transcription(OpenAIScript):
    multipart = True
    prefix = "trsc-"
    kinds = ("transcription.chunk", "transcription")
    choice = b'"delta":{"content":"'
    middle = b'"},"finish_reason":null,"stop_reason":null}]'

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        audio = body.get("file")
        if not isinstance(audio, bytes) or not audio:
            raise Refusal(400, "file must be an uploaded audio file.", param="file")
        wanted = body.get("max_completion_tokens")
        if wanted is not None and not (str(wanted).isdecimal() and int(wanted)):
            name = "max_completion_tokens"
            raise Refusal(400, f"{name} must be at least 1, got {wanted!r}.", param=name)
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

    def whole(self) -> bytes:
        seconds = math.ceil(self.ask.prompt_tokens / _TOKENS_PER_SECOND)
        usage = {"type": "duration", "seconds": seconds}
        return orjson.dumps({"text": self.string(self.plan.text()), "usage": usage})
