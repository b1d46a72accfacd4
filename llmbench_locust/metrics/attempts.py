"""Figures of cancelled and retried requests. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.basis import Basis
from llmbench_locust.records import RecordColumns


def cancelled(basis: Basis) -> Json | None:
    """None if nothing was cancelled.

    ``token_events``: those before the cancellation. ``generated_after``: tokens that the server
    generated for requests that were already cancelled, i.e. counted but not received; None if one
    of the two counts is missing. An event of a cancelled request counts as many tokens as one of a
    complete request on average. Both are None if not all token events were kept.
    """
    columns = basis.columns
    gone = columns.cancelled
    if not np.any(gone):
        return None
    events = np.diff(columns.token_offsets)
    received, whole = int(events[gone].sum()), int(events[columns.success].sum())
    counters = basis.server["all"]["counters"] if basis.server else {}
    made, total = counters.get("generation_tokens"), basis.summary.total_output
    counted = total + round(received * total / whole if whole else received)
    kept = not np.any(basis.facts.gone)
    clear = kept and not np.any(columns.failed) and not attempts_before(columns)
    return {
        "requests": int(np.count_nonzero(gone)),
        "before_first_token": int(np.count_nonzero(gone & (events == 0))),
        "token_events": received if kept else None,
        "generated_after": max(0, int(made) - counted) if clear and made is not None else None,
    }


def retries(basis: Basis) -> Json | None:
    """None if no request was retried. ``attempts``: beyond the first of each request; ``errors``:
    failed attempts that were retried, by kind.
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
    """Number of attempts before the last one, over all requests."""
    return sum(len(orjson.loads(text)) for text in columns.texts["retried"] if text)
