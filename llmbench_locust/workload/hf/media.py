"""Layouts of datasets with conversations, images, videos and speech."""

from __future__ import annotations

import io

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.choose import fits
from llmbench_locust.workload.hf.adapter import Context, Row
from llmbench_locust.workload.media import audio_file, audio_part, image_part, need, video_part
from llmbench_locust.workload.sample import SampleRequest


def conversation(row: Row, context: Context) -> SampleRequest | None:
    """The first question, with its image if any; its answer sets the output length."""
    said = row["conversations"]
    if len(said) < 2:
        return None
    question, answer = said[0]["value"], said[1]["value"]
    answer_len = context.tokens(answer)
    if context.config.hf_output_len is None and not fits(context.tokens(question), answer_len):
        return None
    media = (
        image_part(row["image"], folder=context.folder) if row.get("image") is not None else None
    )
    return context.with_media(question, media, context.output_len(answer_len))


def vision_arena(column: str, row: Row, context: Context) -> SampleRequest:
    """The first message of the conversation in ``column``, with the first image."""
    image = image_part(row["images"][0], folder=context.folder)
    return context.with_media(row[column][0][0]["content"], image, context.output_len(128))


def mmvu(row: Row, context: Context) -> SampleRequest:
    """A question about a video: its URL on the hub, or its path in a local copy."""
    choices = " ".join(f"{letter}.{text}" for letter, text in row["choices"].items())
    video = row["video"]
    if context.folder is not None and isinstance(video, str):
        video = video.replace(
            f"https://huggingface.co/datasets/{context.name}/resolve/main", context.folder
        )
    media = video_part(video, folder=context.folder)
    return context.with_media(f"{row['question']} {choices}", media, context.output_len(128))


def mm_star(row: Row, context: Context) -> SampleRequest:
    """The question without its options, and the image."""
    text = row["question"].split("Options:", 1)[0].strip()
    return context.with_media(
        text, image_part(row["image"], folder=context.folder), context.output_len(128)
    )


_WHISPER = "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"
_COHERE = (
    "<|startofcontext|><|startoftranscript|><|emo:undefined|><|en|><|en|><|pnc|><|noitn|>"
    "<|notimestamp|><|nodiarize|>"
)


def transcription(row: Row, context: Context) -> SampleRequest | None:
    """Audio of a duration that the flags allow; bytes and samples are sent as WAV, files as is."""
    config = context.config
    audio = row["url"] if "audio" not in row else row["audio"]
    if isinstance(audio, dict) and audio.get("bytes") is not None:
        try:
            audio = need("soundfile").read(io.BytesIO(audio["bytes"]), dtype="float32")
        except RuntimeError as e:
            raise ConfigError(f"--dataset-path: soundfile cannot read the audio ({e})") from None
    found = audio_file(audio, folder=context.folder)
    if not config.asr_min_audio_len_sec <= found["duration_s"] <= config.asr_max_audio_len_sec:
        return None
    prompt = decoder_prompt(context)
    media = audio_part(audio, folder=context.folder) if config.backend_info.chat else found
    return SampleRequest(
        prompt, context.tokens(prompt), context.output_len(1024), multi_modal=media
    )


def decoder_prompt(context: Context) -> str:
    """The control tokens at the start of the model's decoder, by the tokenizer's name."""
    name = str(
        getattr(context.tokenizer, "name_or_path", None)
        or context.config.tokenizer
        or context.config.model
        or ""
    )
    if "openai" in name:
        return _WHISPER
    return _COHERE if "cohere" in name.lower() else ""
