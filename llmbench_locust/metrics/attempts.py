"""What users cancelled, and what they tried again. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.basis import Basis
from llmbench_locust.records import RecordColumns


def cancelled(basis: Basis) -> Json | None:
    """None where nothing was cancelled.

    ``token_events``: those before the cancellation. ``generated_after``: tokens that the server
    counts and nobody received, so that it made them for requests that were gone; None where its
    count, or that of the client, does not tell.
    """
    columns = basis.columns
    gone = columns.cancelled
    if not np.any(gone):
        return None
    events = np.diff(columns.token_offsets)
    received = int(events[gone].sum())
    counters = basis.server["all"]["counters"] if basis.server else {}
    made, told = counters.get("generation_tokens"), basis.summary.total_output + received
    clear = made is not None and not np.any(columns.failed) and not attempts_before(columns)
    return {
        "requests": int(np.count_nonzero(gone)),
        "before_first_token": int(np.count_nonzero(gone & (events == 0))),
        "token_events": received,
        "generated_after": max(0, int(made) - told) if clear and made is not None else None,
    }


def retries(basis: Basis) -> Json | None:
    """None where no request was tried again. ``attempts``: beyond the first of each request;
    ``errors``: failed attempts that were followed by another one, by kind.
    """
    texts, ok = basis.columns.texts["retried"], basis.columns.success
    tried = np.fromiter(map(bool, texts), np.bool_, len(texts))
    if not np.any(tried):
        return None
    kinds = Counter(each["error_kind"] for text in texts if text for each in orjson.loads(text))
    return {
        "requests": int(np.count_nonzero(tried)),
        "attempts": sum(kinds.values()),
        "succeeded": int(np.count_nonzero(tried & ok)),
        "errors": dict(kinds.most_common()),
    }


def attempts_before(columns: RecordColumns) -> int:
    """Attempts of all requests before their last ones."""
    return sum(len(orjson.loads(text)) for text in columns.texts["retried"] if text)
