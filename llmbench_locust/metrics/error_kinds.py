"""Failed requests by kind, each with its first message, without what looks like a secret."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from llmbench_locust.records import RecordColumns

#: Kinds counted by name, and characters kept of a message.
MOST_KINDS = 50
MOST_CHARS = 500

# What servers echo: keys by their usual forms, authorization headers, users in URLs, name-value
# pairs that say secret.
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"\b(sk|hf|pk|gsk|xai|AKIA)[-_][A-Za-z0-9_-]{8,}"), r"\1-***"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "://***@"),
    (
        re.compile(
            r"(?i)\b(api[-_ ]?key|authorization|password|secret|access[-_]?token)"
            r"""(["']?\s*[:=]\s*["']?)[^\s"',;*]{4,}"""
        ),
        r"\1\2***",
    ),
)


def redacted(text: str) -> str:
    """The text on one line, cut, with ``***`` for what looks like a key, a password or a token.

    Without control characters: a server's message is shown on terminals.
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"


def errors_by_kind(columns: RecordColumns) -> dict[str, dict[str, Any]]:
    """``{kind: {"count", "first"}}``, the most frequent first; what lies past 50 kinds is counted
    as "other".
    """
    found: dict[str, dict[str, Any]] = {}
    for row in np.flatnonzero(~columns.success).tolist():
        kind = columns.texts["error_kind"][row] or "unknown"
        if kind not in found and len(found) >= MOST_KINDS:
            kind = "other"
        entry = found.setdefault(kind, {"count": 0, "first": redacted(columns.texts["error"][row])})
        entry["count"] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))
