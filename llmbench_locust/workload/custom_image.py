"""``custom_image``: JSONL with prompts and images.

A line holds ``prompt`` and ``image_files`` (a list of paths, URLs or data URLs), or ``content``: a
list of parts as chat messages have them, ``{"type": "text", "text"}``, ``{"type": "image",
"image"}`` or ``{"type": "image_url", "image_url"}``.
"""

from __future__ import annotations

import os

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect, oversample, own_output_len, shuffle
from llmbench_locust.workload.files import bad_line, read_prompts
from llmbench_locust.workload.media import image_part
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

Part = Json


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = None
) -> list[SampleRequest]:
    """The samples, shuffled by seed. ``prompt_len`` is that of the text alone."""
    rows = read_prompts(config)
    for line, row in rows:
        if "content" not in row and not ("prompt" in row and "image_files" in row):
            what = "has neither 'content' nor both 'prompt' and 'image_files'"
            raise bad_line(config, line, what)
    shuffle(rows, config)
    made = (_sample(row, line, config, tokenizer) for line, row in rows[: config.num_prompts])
    return oversample(collect(made, config, progress, config.num_prompts), config)


def _sample(row: Json, line: int, config: RunConfig, tokenizer: Tokenizer | None) -> SampleRequest:
    make = _interleaved if "content" in row else _with_files
    sample = make(row, line, config)
    sample.prompt_len = 1 if tokenizer is None else len(tokenizer.encode(_text(sample.prompt)))
    if config.enable_multimodal_chat:
        sample.to_messages()
    return sample


def _with_files(row: Part, line: int, config: RunConfig) -> SampleRequest:
    prompt, files = row["prompt"], row["image_files"]
    if not isinstance(prompt, str):
        raise bad_line(config, line, "has a 'prompt' that is not a text")
    if not isinstance(files, list) or not files:
        raise bad_line(config, line, "has an 'image_files' that is not a list of one or more")
    parts = [_image(image, line, config) for image in files]
    media = parts[0] if len(parts) == 1 else parts
    return SampleRequest(prompt, 0, own_output_len(row, line, config), multi_modal=media)


def _interleaved(row: Part, line: int, config: RunConfig) -> SampleRequest:
    content = row["content"]
    if not isinstance(content, list) or not content:
        raise bad_line(config, line, "has a 'content' that is not a list of one or more parts")
    parts = [_part(part, line, config) for part in content]
    messages = [{"role": "user", "content": parts}]
    return SampleRequest(parts, 0, own_output_len(row, line, config), chat_messages=messages)


def _part(part: JsonValue, line: int, config: RunConfig) -> Part:
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
    raise bad_line(config, line, "has a part whose type is none of text, image, image_url")


def _image(image: object, line: int, config: RunConfig) -> Part:
    folder = os.path.dirname(os.path.abspath(config.dataset_path))
    try:
        return image_part(image, embed=config.custom_ensure_client_side_data, folder=folder)
    except ConfigError as e:
        raise ConfigError(f"{e} (line {line})") from None


def _text(prompt: JsonValue) -> str:
    if isinstance(prompt, str):
        return prompt
    return "".join(part["text"] for part in prompt if part["type"] == "text")
