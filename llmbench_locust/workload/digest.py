"""A digest of a workload: equal where the same prompts go out in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import orjson

from llmbench_locust.json_types import JsonValue
from llmbench_locust.workload.sample import SampleRequest


def digest(samples: Iterable[SampleRequest]) -> str:
    """sha256 (hex) over prompts, media and lengths, in order. Request ids are not part of it."""
    found = hashlib.sha256()
    for s in samples:
        what = (s.prompt, s.prompt_len, s.expected_output_len)
        more = (s.multi_modal, s.chat_messages, s.body_overrides)
        found.update(orjson.dumps((*what, *more), default=_plain, option=orjson.OPT_SORT_KEYS))
    return found.hexdigest()


def _plain(value: object) -> JsonValue:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
