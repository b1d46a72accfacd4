"""OpenAI-compatible transcriptions and translations: a multipart form, a stream of text."""

from __future__ import annotations

import json

from llmbench_locust.backends import BACKENDS
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.records import RequestRecord
from llmbench_locust.transport.exchange import Exchange
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.openai import ChatSink
from llmbench_locust.users.protocols.sinks import TextSink
from llmbench_locust.workload.sample import SampleRequest


class Transcriptions(Protocol):
    """``multi_modal`` holds the bytes of a sound file as ``"audio"``."""

    info = BACKENDS["openai-audio"]
    sink_class = ChatSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {
            "model": model,
            "max_completion_tokens": sample.expected_output_len,
            "stream": True,
            "language": "en",
            # Flat, because a form cannot nest objects.
            "stream_include_usage": True,
            "stream_continuous_usage_stats": True,
        }

    def encode(self, body: Json, sample: SampleRequest, headers: dict[str, str]) -> bytes:
        import requests  # late: only this backend needs it on a worker

        name, audio = sound_of(sample)
        kind = "audio/wav" if name.lower().endswith(".wav") else "application/octet-stream"
        fields = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
        form = requests.Request(
            "POST", "http://-", data=fields, files={"file": (name, audio, kind)}
        )
        made = form.prepare()
        for old in [n for n in headers if n.lower() == "content-type"]:
            del headers[old]
        headers["Content-Type"] = made.headers["Content-Type"]
        assert isinstance(made.body, bytes)
        return made.body

    def record(
        self, index: int, sample: SampleRequest, exchange: Exchange, sink: TextSink
    ) -> RequestRecord:
        record = super().record(index, sample, exchange, sink)
        record.audio_s = duration_s(sample)
        return record


def sound_of(sample: SampleRequest) -> tuple[str, bytes]:
    """(file name, bytes of a sound file). Raises ConfigError for a sample without sound."""
    media = sample.multi_modal
    if not isinstance(media, dict) or not isinstance(media.get("audio"), bytes):
        raise ConfigError(
            "--dataset-name: a sample has no audio, but --backend openai-audio takes only audio"
        )
    return str(media.get("filename") or "audio.wav"), media["audio"]


def duration_s(sample: SampleRequest) -> float:
    """Duration of the sound from the sample; 0.0 if unknown."""
    media = sample.multi_modal
    return float(media.get("duration_s") or 0.0) if isinstance(media, dict) else 0.0
