"""Multipart forms, by Werkzeug's parser."""

from __future__ import annotations

import io

from werkzeug.formparser import parse_form_data

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Refusal


def read_form(content_type: str, raw: bytes) -> Json:
    """Fields as str, files as bytes (and `NAME_filename`). Raises Refusal."""
    if not content_type.startswith("multipart/form-data"):
        raise Refusal(
            400, f"The body must be multipart/form-data, not {content_type or 'untyped'}."
        )
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
