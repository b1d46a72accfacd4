"""``--check-answers`` and ``--expect-same-as``: checks of the responses after the run. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.metrics.basis import Basis
from llmbench_locust.records import RecordColumns

#: Characters shown of a wrong response.
SHOWN = 200
_CALL = re.compile(r"[\w.:-]+(?=\{)")
Bools = NDArray[np.bool_]
T = TypeVar("T")


def answer_figures(basis: Basis) -> Json | None:
    """The share of valid responses among the successful ones that can be checked."""
    spec, key, columns = basis.facts.config.check_answers, basis.facts.answers, basis.columns
    if not spec:
        return None
    name, _, detail = spec.partition(":")
    index = columns.ints["index"].tolist()
    if name == "exact":
        wanted = _by_index(key.references, index)
        judged = np.array([text is not None for text in wanted], np.bool_)
        valid = [t.strip() == (w or "").strip() for t, w in zip(_texts(basis), wanted, strict=True)]
    else:
        asked = np.array([bool(a) for a in _by_index(key.asked, index)], np.bool_)
        judged = asked if name == "json_schema" else np.ones(len(columns), np.bool_)
        check = _checker(name, detail, key.schema)
        rows = columns.success & judged
        valid = [bool(r) and check(t) for t, r in zip(_texts(basis), rows.tolist(), strict=True)]
    return {"check": spec, **_figures(columns, columns.success & judged, np.array(valid, np.bool_))}


def same_figures(basis: Basis) -> Json | None:
    """The share of responses that equal those of another run, request by request."""
    config, key, columns = basis.facts.config, basis.facts.answers, basis.columns
    if not config.expect_same_as:
        return None
    others = _by_index(key.others, columns.ints["index"].tolist())
    known = np.array([text is not None for text in others], np.bool_)
    same = np.array([t == o for t, o in zip(_texts(basis), others, strict=True)], np.bool_)
    return {"with": config.expect_same_as, **_figures(columns, columns.success & known, same)}


def _texts(basis: Basis) -> list[str]:
    return basis.columns.texts["text"]


def _by_index(values: Sequence[T], index: list[int]) -> list[T | None]:
    return [values[i] if 0 <= i < len(values) else None for i in index]


def _checker(name: str, detail: str, schema: Json | None) -> Callable[[str], bool]:
    if name == "regex":
        pattern = re.compile(detail, re.S)
        return lambda text: pattern.search(text) is not None
    if name == "json_schema":
        from jsonschema import validators

        validator = validators.validator_for(schema or {})(schema or {})
        return lambda text: (found := _json(text)) is not _NO_JSON and validator.is_valid(found)
    return {
        "nonempty": lambda text: bool(text.strip()),
        "json": lambda text: _json(text) is not _NO_JSON,
        "tool_call": _calls,
    }[name]


_NO_JSON = object()


def _json(text: str) -> JsonValue:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def _calls(text: str) -> bool:
    """Whether the text ends with tool calls: a name and an object each, as sinks write them."""
    decoder, found = json.JSONDecoder(), _CALL.search(text)
    while found is not None:
        try:
            _, end = decoder.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return False
        if end == len(text.rstrip()):
            return True
        found = _CALL.match(text, end)
    return False


def _figures(columns: RecordColumns, judged: Bools, valid: Bools) -> Json:
    """Shares by label, and by the number of requests in flight at the send."""
    wrong = np.flatnonzero(judged & ~valid)
    labels = np.array(columns.texts["label"], dtype=str)
    loads = _load(columns)
    first = int(wrong[0]) if len(wrong) else None
    return {
        **_share(judged, valid),
        "by_label": {
            name: _share(judged & (labels == name), valid)
            for name in sorted({*labels.tolist()} - {""})
        },
        "by_requests_in_flight": {
            str(level): _share(judged & (loads == level), valid)
            for level in np.unique(loads[judged]).tolist()
        },
        "first_wrong": None
        if first is None
        else {
            "request_id": columns.texts["request_id"][first],
            "text": columns.texts["text"][first][:SHOWN],
        },
    }


def _share(judged: Bools, valid: Bools) -> Json:
    """The share with Wilson's 95% interval; None without responses."""
    from scipy.stats import binomtest  # late: slow to import

    n, k = int(np.count_nonzero(judged)), int(np.count_nonzero(judged & valid))
    ends = binomtest(k, n).proportion_ci(0.95, method="wilson") if n else None
    return {
        "checked": n,
        "valid": k,
        "share": k / n if n else None,
        "interval": None if ends is None else [float(ends.low), float(ends.high)],
    }


def _load(columns: RecordColumns) -> NDArray[np.int64]:
    """Requests in flight at each send, itself included, up to a power of two; 0: not sent."""
    start, end = columns.floats["start_time"], columns.floats["end_time"]
    sent = np.isfinite(start)
    before = np.searchsorted(np.sort(start[sent]), start, side="right")
    gone = np.searchsorted(np.sort(end[np.isfinite(end)]), start, side="right")
    level = np.maximum(before - gone, 1)
    return np.where(sent, 1 << np.ceil(np.log2(level)).astype(np.int64), 0)
