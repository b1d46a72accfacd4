"""Failed requests by kind, each with its first message, without what looks like a secret."""

from __future__ import annotations

import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.records import RecordColumns
from llmbench_locust.redact import redacted

#: Kinds counted by name.
MOST_KINDS = 50


def errors_by_kind(columns: RecordColumns) -> dict[str, Json]:
    """``{kind: {"count", "first"}}``, the most frequent first; past 50 kinds they are "other"."""
    found: dict[str, Json] = {}
    for row in np.flatnonzero(columns.failed).tolist():
        kind = columns.texts["error_kind"][row] or "unknown"
        if kind not in found and len(found) >= MOST_KINDS:
            kind = "other"
        entry = found.setdefault(kind, {"count": 0, "first": redacted(columns.texts["error"][row])})
        entry["count"] += 1
    return dict(sorted(found.items(), key=lambda item: -item[1]["count"]))
