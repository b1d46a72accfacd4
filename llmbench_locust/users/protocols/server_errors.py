"""Finds the server's message in an error body of any form."""

from __future__ import annotations

import html
import re
from http import HTTPStatus

import orjson

from llmbench_locust.json_types import Json

# Keys under which servers put their message, most specific first.
_MESSAGE_KEYS = ("message", "error", "detail", "msg", "errors", "error_message", "title", "reason")


def message_of(error: object) -> str:
    """The message in JSON of any form, the title of an HTML page, or the text; "" for none."""
    if isinstance(error, bytes):
        return _of_bytes(error)
    if isinstance(error, str):
        return error.strip()
    if isinstance(error, list):
        return "; ".join(filter(None, map(message_of, error)))
    if isinstance(error, dict):
        return _of_object(error)
    return "" if error is None or isinstance(error, bool) else str(error)


def _of_bytes(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    if not text:
        return ""
    try:
        return message_of(orjson.loads(text))
    except orjson.JSONDecodeError:
        return _of_text(text)


def _of_object(error: Json) -> str:
    for key in _MESSAGE_KEYS:
        said = message_of(error.get(key))
        if said:
            where = error.get("loc")
            if key == "msg" and isinstance(where, list) and where:  # FastAPI's validation errors
                return f"{'.'.join(map(str, where))}: {said}"
            return said
    return orjson.dumps(error).decode() if error else ""


def _of_text(text: str) -> str:
    if not re.search(r"<(?:html|!doctype|head|body|h1)\b", text, re.I):
        return text
    for tag in ("title", "h1"):
        found = re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S | re.I)
        if found and (said := _without_tags(found.group(1))):
            return f"an HTML page: {said}"
    return f"an HTML page: {_without_tags(text)}"


def _without_tags(page: str) -> str:
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S | re.I)
    return html.unescape(re.sub(r"<[^>]*>", " ", page)).strip()


def status_words(status: int) -> str:
    """The message for a status whose response has none."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"
