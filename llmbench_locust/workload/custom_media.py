"""``custom_image`` and ``custom_audio``: JSONL with prompts and images or audio.

A line with images has ``prompt`` and ``image_files`` (a list of paths, URLs or data URLs), or
``content``: a list of chat content parts, ``{"type": "text", "text"}``, ``{"type": "image",
"image"}`` or ``{"type": "image_url", "image_url"}``.

A line with audio has ``audio`` (a path; for chat also an http(s) or data URL) and optionally
``prompt``. A chat backend sends the audio in the message as base64 WAV, ``openai-audio`` as a
file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect, oversample, own_output_len, shuffle
from llmbench_locust.workload.files import bad_line, read_prompts
from llmbench_locust.workload.media import audio_file, audio_part, image_part
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

Make = Callable[[Json, int, RunConfig, Tokenizer | None], SampleRequest]


def _load(
    make: Make, config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The samples, shuffled by seed. Raises ConfigError with the line number."""
    rows = read_prompts(config)
    shuffle(rows, config)
    made = (make(row, line, config, tokenizer) for line, row in rows[: config.num_prompts])
    return oversample(collect(made, config, progress, config.num_prompts), config)


def _with_images(
    row: Json, line: int, config: RunConfig, tokenizer: Tokenizer | None
) -> SampleRequest:
    if "content" not in row and not ("prompt" in row and "image_files" in row):
        what = "has neither 'content' nor both 'prompt' and 'image_files'"
        raise bad_line(config, line, what)
    make = _interleaved if "content" in row else _with_files
    sample = make(row, line, config)
    sample.prompt_len = 1 if tokenizer is None else len(tokenizer.encode(_text(sample.prompt)))
    if config.enable_multimodal_chat:
        sample.to_messages()
    return sample


def _with_files(row: Json, line: int, config: RunConfig) -> SampleRequest:
    prompt, files = row["prompt"], row["image_files"]
    if not isinstance(prompt, str):
        raise bad_line(config, line, "has a 'prompt' that is not a string")
    if not isinstance(files, list) or not files:
        raise bad_line(config, line, "has 'image_files' that is not a list of one or more")
    parts = [_image(image, line, config) for image in files]
    media = parts[0] if len(parts) == 1 else parts
    return SampleRequest(prompt, 0, own_output_len(row, line, config), multi_modal=media)


def _interleaved(row: Json, line: int, config: RunConfig) -> SampleRequest:
    content = row["content"]
    if not isinstance(content, list) or not content:
        raise bad_line(config, line, "has 'content' that is not a list of one or more parts")
    parts = [_part(part, line, config) for part in content]
    messages = [{"role": "user", "content": parts}]
    return SampleRequest(parts, 0, own_output_len(row, line, config), chat_messages=messages)


def _part(part: JsonValue, line: int, config: RunConfig) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise bad_line(config, line, "has a text part without a 'text'")
        return {"type": "text", "text": part["text"]}
    if kind == "image" and "image" in part:
        return _image(part["image"], line, config)
    if kind == "image_url":
        named = part.get("image_url")
        url = named.get("url") if isinstance(named, dict) else named
        if isinstance(url, str):
            made = _image(url, line, config)
            if isinstance(named, dict):
                made["image_url"] = {**named, **made["image_url"]}
            return made
        raise bad_line(config, line, "has an image_url part without a URL")
    raise bad_line(config, line, "has a part whose type is not text, image or image_url")


def _image(image: object, line: int, config: RunConfig) -> Json:
    folder = os.path.dirname(os.path.abspath(config.dataset_path))
    try:
        return image_part(image, embed=config.custom_ensure_client_side_data, folder=folder)
    except ConfigError as e:
        raise ConfigError(f"{e} (line {line})") from None


def _text(prompt: JsonValue) -> str:
    if isinstance(prompt, str):
        return prompt
    return "".join(part["text"] for part in prompt if part["type"] == "text")


def _with_sound(
    row: Json, line: int, config: RunConfig, tokenizer: Tokenizer | None
) -> SampleRequest:
    prompt, audio = row.get("prompt", ""), row.get("audio")
    if not isinstance(prompt, str) or not isinstance(audio, str) or not audio:
        what = "needs a path as 'audio'; its 'prompt', if any, must be a string"
        raise bad_line(config, line, what)
    folder, chat = os.path.dirname(os.path.abspath(config.dataset_path)), config.backend_info.chat
    try:
        media = audio_part(audio, folder=folder) if chat else audio_file(audio, folder=folder)
    except ConfigError as e:
        raise ConfigError(f"{e} (line {line})") from None
    if tokenizer and tokenizer.chat_template and not chat and not config.skip_chat_template:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": prompt}])
    prompt_len = 1 if tokenizer is None else len(tokenizer.encode(prompt))
    return SampleRequest(prompt, prompt_len, own_output_len(row, line, config), multi_modal=media)


load_images, load_sounds = partial(_load, _with_images), partial(_load, _with_sound)
