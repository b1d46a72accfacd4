"""A request in protocol-independent form, and its rejection."""

from __future__ import annotations

import io
from dataclasses import dataclass

import orjson

from llmbench_locust.json_types import Json, JsonValue


@dataclass(slots=True)
class Ask:
    """``prompt`` is hashed. ``max_tokens``: None leaves the length to the server."""

    prompt: JsonValue
    prompt_tokens: int
    max_tokens: int | None = None
    stream: bool = False
    model: str = ""
    choices: int = 1
    ignore_eos: bool = False
    min_tokens: int = 0
    include_usage: bool = False
    continuous_usage: bool = False
    give_counts: bool = True  # counts that a protocol always sends; only a fault turns them off
    logprobs: bool = False
    reasoning: int = 0
    reasoning_field: str = "reasoning"
    tool_calls: bool = False
    accumulate: bool = False
    items: int = 1
    dimensions: int = 0
    base64: bool = False
    cached_tokens: int | None = None  # of the prompt; None if the server does not report it
    tell_times: bool = False  # vLLM's per-request metrics beside the usage


class Refusal(Exception):
    """Rejects the request with this status and message. ``kind``: the type in vLLM's JSON."""

    def __init__(
        self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> Json:
        found = {"message": self.message, "type": self.kind}
        return {"error": {**found, "param": self.param, "code": self.status}}


def json_body(raw: bytes) -> Json:
    """The request's body. Raises Refusal unless it is a JSON object."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return body


def whole(body: Json, *names: str) -> int | None:
    """The first of the named fields that is set, as a positive integer. Raises Refusal."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Refusal(400, f"{name} must be at least 1, got {value!r}.", param=name)
        return value
    return None


def message_turns(messages: object) -> tuple[JsonValue, list[tuple[str, str]]]:
    """(value to hash, role and text of each message) of chat messages. Raises Refusal.

    A single text message hashes as its text, so that a workload has the same hashes with every
    protocol.
    """
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(message, dict) for message in messages)
    ):
        raise Refusal(400, "messages must be a list of at least one message.", param="messages")
    turns = []
    only_text = len(messages) == 1
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        found = (part.get("text") for part in parts if isinstance(part, dict))
        texts = [text for text in found if isinstance(text, str)]
        only_text = only_text and len(texts) == len(parts) == 1
        turns.append((str(message.get("role", "user")), "\n".join(texts)))
    return (turns[0][1] if only_text else messages), turns


def read_form(content_type: str, raw: bytes) -> Json:
    """Form fields as str, files as bytes (and `NAME_filename`). Raises Refusal."""
    if not content_type.startswith("multipart/form-data"):
        raise Refusal(
            400, f"The body must be multipart/form-data, not {content_type or 'untyped'}."
        )
    from werkzeug.formparser import parse_form_data  # late: only audio requests are forms

    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.input": io.BytesIO(raw),
    }
    _, fields, uploads = parse_form_data(environ)
    body: Json = fields.to_dict()
    for name, upload in uploads.items():
        body[name] = upload.read()
        body[name + "_filename"] = upload.filename
    return body
