"""CSV traces with a time, an input length and an output length in each row: BurstGPT's and Azure's.

BurstGPT: ``Timestamp`` (seconds), ``Model``, ``Request tokens``, ``Response tokens``; of these the
rows of GPT-4, as without ``--self-timed``. Azure (LLM inference traces 2023 and 2024):
``TIMESTAMP`` (date and time), ``ContextTokens``, ``GeneratedTokens``. Failed requests (no response
tokens) are left out. Replayed in the order of time, by those times with ``--self-timed``. Prompts
are made up: token (index + place) mod vocabulary, decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from llmbench_locust.errors import ConfigError, first_line
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect, oversample
from llmbench_locust.workload.files import read_csv
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

_COLUMNS = {
    "time": ("TIMESTAMP", "Timestamp", "timestamp"),
    "input": ("ContextTokens", "Request tokens", "input_length"),
    "output": ("GeneratedTokens", "Response tokens", "output_length"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace: its time in seconds (of any zero) and its lengths in tokens."""

    time_s: float
    input_len: int
    output_len: int


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The first ``--num-prompts`` requests of the trace.

    With ``--self-timed`` never more than the trace has; without, they are repeated at random unless
    ``--no-oversample``. ``prompt_len`` is the trace's number, as vLLM's burstgpt has it. Raises
    ConfigError with the line's number.
    """
    rows = read_rows(config.dataset_path)[: config.num_prompts]
    made = (
        SampleRequest(
            made_up(i, row.input_len, tokenizer),
            row.input_len,
            row.output_len,
            due_s=row.time_s if config.self_timed else None,
        )
        for i, row in enumerate(rows)
    )
    samples = collect(made, config, progress, len(rows))
    return samples if config.self_timed else oversample(samples, config)


def made_up(place: int, length: int, tokenizer: Tokenizer) -> str:
    """The text of ``length`` tokens that follow each other in the vocabulary from ``place`` on."""
    return tokenizer.decode(((np.arange(length) + place) % tokenizer.vocab_size).tolist())


def read_rows(path: str) -> list[Row]:
    """The rows that count, sorted by time. Raises ConfigError."""
    names, lines = read_csv(path)
    time_name, input_name, output_name = (_column(names, path, what) for what in _COLUMNS)
    found = []
    for line, row in lines:
        if row.get("Model", "GPT-4") != "GPT-4":
            continue
        output_len = _tokens(row, output_name, path, line)
        input_len = _tokens(row, input_name, path, line)
        if output_len > 0 and input_len > 0:
            time_s = _seconds(row.get(time_name, ""), path, line, time_name)
            found.append(Row(time_s, input_len, output_len))
    if not found:
        what = "has no row with input and output tokens (of Model GPT-4, where it has models)"
        raise ConfigError(f"--dataset-path: {path!r} {what}")
    return sorted(found, key=lambda r: r.time_s)


def _column(names: Sequence[str], path: str, what: str) -> str:
    for name in _COLUMNS[what]:
        if name in names:
            return name
    wanted = " or ".join(repr(n) for n in _COLUMNS[what])
    raise ConfigError(
        f"--dataset-path: {path!r} has no column {wanted}; it has {', '.join(map(repr, names))}"
    )


def _tokens(row: dict[str, str], name: str, path: str, line: int) -> int:
    text = row.get(name, "").strip()
    try:
        value = float(text)
        if value < 0 or value != int(value):
            raise ValueError
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--dataset-path: {path!r} line {line}: {name!r} is {text!r}; it must be a whole number"
        ) from None
    return int(value)


def _seconds(text: str, path: str, line: int, name: str) -> float:
    """A number of seconds, or a date with a time (without a zone, UTC)."""
    text = text.strip()
    try:
        value = float(text)
        if math.isfinite(value):
            return value
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--dataset-path: {path!r} line {line}: {name!r} is {text!r}; it must be "
            "seconds, or a date and time"
        ) from None
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


_BURSTGPT = ("Model", "Request tokens", "Response tokens")


def load_burstgpt(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """With ``--self-timed`` the trace as it was, else a sample of it by seed, as vLLM draws it."""
    if config.self_timed:
        return load(config, tokenizer, progress)
    frame = _frame(config.dataset_path)
    n = config.num_prompts
    chosen = frame.sample(n=n, random_state=config.seed, replace=n > len(frame))
    lens = zip(chosen["Request tokens"].tolist(), chosen["Response tokens"].tolist(), strict=True)
    made = (
        SampleRequest(made_up(i, int(length), tokenizer), int(length), int(output))
        for i, (length, output) in enumerate(lens)
    )
    return collect(made, config, progress, n)


def _frame(path: str) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise ConfigError(f"--dataset-path: {path!r} is not CSV ({first_line(e)})") from None
    for name in _BURSTGPT:
        if name not in frame.columns:
            raise ConfigError(f"--dataset-path: {path!r} has no column {name!r}, as BurstGPT has")
    answered = pd.to_numeric(frame["Response tokens"], errors="coerce") > 0
    frame = frame[(frame["Model"] == "GPT-4") & answered]
    if not len(frame):
        raise ConfigError(f"--dataset-path: {path!r} has no row of GPT-4 with response tokens")
    return frame
