"""Speech datasets for transcription: LibriSpeech, VoxPopuli, TED-LIUM, AMI and others."""

from __future__ import annotations

import io

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.hf.adapter import Context, Row
from llmbench_locust.workload.media import audio_file, audio_part, need
from llmbench_locust.workload.sample import SampleRequest

_WHISPER = "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"
_COHERE = (
    "<|startofcontext|><|startoftranscript|><|emo:undefined|><|en|><|en|><|pnc|><|noitn|>"
    "<|notimestamp|><|nodiarize|>"
)


def transcription(row: Row, context: Context) -> SampleRequest | None:
    """A sound within the flags' lengths; bytes and samples are sent as WAV, files as they are."""
    config = context.config
    audio = row["url"] if "audio" not in row else row["audio"]
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        try:
            audio = need("soundfile").read(io.BytesIO(audio["bytes"]), dtype="float32")
        except RuntimeError as e:
            raise ConfigError(f"--dataset-path: a sound that soundfile cannot read ({e})") from None
    found = audio_file(audio, folder=context.folder)
    if not config.asr_min_audio_len_sec <= found["duration_s"] <= config.asr_max_audio_len_sec:
        return None
    prompt = decoder_prompt(context)
    media = audio_part(audio, folder=context.folder) if config.backend_info.chat else found
    return SampleRequest(
        prompt, context.tokens(prompt), context.output_len(1024), multi_modal=media
    )


def decoder_prompt(context: Context) -> str:
    """The control tokens that a model's decoder starts with, by the tokenizer's name."""
    name = str(
        getattr(context.tokenizer, "name_or_path", None)
        or context.config.tokenizer
        or context.config.model
        or ""
    )
    if "openai" in name:
        return _WHISPER
    return _COHERE if "cohere" in name.lower() else ""
