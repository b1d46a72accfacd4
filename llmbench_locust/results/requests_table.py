"""One row for each request, as CSV or parquet; imports pandas only when called."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.metrics.facts import Figures
from llmbench_locust.redact import redacted


def request_frame(figures: Figures) -> Any:
    """A pandas DataFrame. Times in seconds from the start of the arrivals, latencies in
    milliseconds.

    Unknown values are NaN, <NA>, or an empty text.
    """
    import pandas as pd

    columns, summary, origin_s = figures.facts.columns, figures.summary, figures.facts.origin_s
    found, floats, ints, texts = summary.latencies, columns.floats, columns.ints, columns.texts
    events = np.where(figures.facts.gone, -1, np.diff(columns.token_offsets))

    return pd.DataFrame(
        {
            "index": ints["index"],
            "request_id": texts["request_id"],
            "success": columns.success,
            "error_kind": texts["error_kind"],
            "error": [redacted(text) for text in texts["error"]],
            "status": _known(ints["status"]),
            "due_s": floats["due_time"] - origin_s,
            "start_s": floats["start_time"] - origin_s,
            "first_token_s": floats["first_token_time"] - origin_s,
            "end_s": floats["end_time"] - origin_s,
            "client_queue_ms": floats["client_queue_time"] * 1000,
            "connect_ms": floats["connect_s"] * 1000,
            "server_queue_ms": floats["server_queue_time"] * 1000,
            "server_ttft_ms": floats["server_ttft"] * 1000,
            "ttft_ms": found.ttft_s * 1000,
            "first_answer_ms": (floats["first_answer_time"] - floats["start_time"]) * 1000,
            "tpot_ms": found.tpot_s * 1000,
            "e2el_ms": found.e2el_s * 1000,
            "prompt_tokens": ints["prompt_len"],
            "server_prompt_tokens": _known(ints["input_tokens"]),
            "cached_tokens": _known(ints["cached_tokens"]),
            "output_tokens": summary.output_lens,
            "reasoning_tokens": _known(ints["reasoning_tokens"]),
            "token_events": _known(events),
            "expected_output_tokens": _known(ints["expected_output_len"]),
            "finish_reason": texts["finish_reason"],
            "retried": texts["retried"],
            "audio_s": floats["audio_s"],
            "label": texts["label"],
            "conversation": _known(ints["conversation"]),
            "turn": _known(ints["turn"]),
            "worker": texts["worker"],
            "server": texts["server"],
        }
    )


def _known(values: NDArray[np.int64]) -> object:
    """A column of integers with missing values (-1)."""
    import pandas as pd

    found = pd.array(values, dtype="Int64")
    found[values < 0] = pd.NA
    return found


def table_csv(figures: Figures) -> bytes:
    frame = request_frame(figures)
    for name in frame.select_dtypes(include=["object", "string"]):
        frame[name] = [_no_formula(cell) for cell in frame[name]]
    text: str = frame.to_csv(index=False)
    return text.encode("utf-8", "backslashreplace")


def _no_formula(cell: object) -> object:
    """Quotes a text that a spreadsheet would take for a formula."""
    risky = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if risky else cell


def table_parquet(figures: Figures) -> bytes:
    """Needs pyarrow, a dependency of ``datasets``."""
    file = io.BytesIO()
    request_frame(figures).to_parquet(file, index=False)
    return file.getvalue()
