"""A sample's prompt in the forms that bodies need: text, chat messages, content parts."""

from __future__ import annotations

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.workload.sample import SampleRequest


def text_of(sample: SampleRequest) -> str:
    """The prompt as one text; texts of chat messages are joined by line breaks."""
    prompt: JsonValue = sample.chat_messages if sample.chat_messages is not None else sample.prompt
    if isinstance(prompt, str):
        return prompt
    if prompt and isinstance(prompt[0], dict):
        return "\n".join(filter(None, (message_text(message) for message in prompt)))
    return " ".join(map(str, prompt))


def message_text(message: Json) -> str:
    """The text of one message, or of one content part."""
    content = message.get("content", message.get("text"))
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(str(text) for text in texts if text)
    return content if isinstance(content, str) else ""


def media_of(sample: SampleRequest) -> list[Json]:
    """The multi-modal content parts; [] for none."""
    media = sample.multi_modal
    if not media:
        return []
    return media if isinstance(media, list) else [media]


def media_within(sample: SampleRequest) -> list[Json]:
    """The multi-modal parts, whether beside the prompt, in a prompt of parts, or in messages."""
    found: JsonValue = media_of(sample)
    if found:
        return list(found)
    parts: JsonValue = sample.chat_messages if sample.chat_messages is not None else sample.prompt
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], dict):
        return []
    for part in parts:
        content = part.get("content")
        found += content if isinstance(content, list) else [] if "content" in part else [part]
    return [part for part in found if part.get("type") != "text"]


def own_messages(sample: SampleRequest) -> list[Json] | None:
    """The chat messages of the sample, sent unchanged; None if it has a prompt instead."""
    if sample.chat_messages is not None:
        return sample.chat_messages
    prompt: JsonValue = sample.prompt
    messages = isinstance(prompt, list) and all(isinstance(m, dict) and "role" in m for m in prompt)
    return prompt if prompt and messages else None


def chat_messages(
    sample: SampleRequest, text: str | None = None, *, media_first: bool = False
) -> list[Json]:
    """The sample's messages, or one user message. ``text`` replaces the prompt."""
    own = own_messages(sample)
    if own is not None:
        return own
    prompt: JsonValue = sample.prompt
    if text is None and isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
        parts = list(prompt)  # content parts
    else:
        parts = [{"type": "text", "text": text_of(sample) if text is None else text}]
    media = media_of(sample)
    return [{"role": "user", "content": [*media, *parts] if media_first else [*parts, *media]}]


def plain_messages(sample: SampleRequest) -> list[Json]:
    """The sample's messages, or one user message of plain text."""
    own = own_messages(sample)
    return own if own is not None else [{"role": "user", "content": text_of(sample)}]
