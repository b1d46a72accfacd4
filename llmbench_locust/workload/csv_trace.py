"""CSV traces from BurstGPT and Azure: each row has a time, an input length and an output length.

BurstGPT: ``Timestamp`` (seconds), ``Model``, ``Request tokens``, ``Response tokens``; only rows of
GPT-4 are used. Azure (LLM inference traces 2023 and 2024): ``TIMESTAMP`` (date and time),
``ContextTokens``, ``GeneratedTokens``. Failed requests (no response tokens) are left out. Rows are
replayed in time order, at their recorded times with ``--self-timed``. Prompts are synthetic: token
i of row k is (i + k) mod vocabulary size, decoded.
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
from llmbench_locust.options.values import MOST_TOKENS
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
    """One request of a trace: its time in seconds (from any origin) and its lengths in tokens."""

    time_s: float
    input_len: int
    output_len: int


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The first ``--num-prompts`` requests of the trace.

    If the trace is shorter, requests are repeated at random, except with ``--self-timed`` or
    ``--no-oversample``. ``prompt_len`` is the trace's number, as in vLLM's burstgpt. Raises
    ConfigError with the line number.
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
    """The text of ``length`` consecutive tokens of the vocabulary, from ``place`` on."""
    return tokenizer.decode(((np.arange(length) + place) % tokenizer.vocab_size).tolist())


def read_rows(path: str) -> list[Row]:
    """The usable rows, sorted by time. Raises ConfigError."""
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
        what = "has no row with input and output tokens (and Model GPT-4, if it has that column)"
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
        if not 0 <= value <= MOST_TOKENS or value != int(value):
            raise ValueError
    except ValueError:
        raise _not_tokens(path, line, name, text) from None
    return int(value)


def _not_tokens(path: str, line: int, name: str, text: str) -> ConfigError:
    return ConfigError(
        f"--dataset-path: {path!r} line {line}: {name!r} is {text!r}; it must be a whole number "
        f"from 0 to {MOST_TOKENS}"
    )


def _seconds(text: str, path: str, line: int, name: str) -> float:
    """Seconds from a number, or from a date and time (UTC if it has no time zone)."""
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
    """The trace in order with ``--self-timed``, else a sample by seed, drawn as in vLLM."""
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
            raise ConfigError(f"--dataset-path: {path!r} has no BurstGPT column {name!r}")
    answered = pd.to_numeric(frame["Response tokens"], errors="coerce") > 0
    frame = frame[(frame["Model"] == "GPT-4") & answered]
    if not len(frame):
        raise ConfigError(f"--dataset-path: {path!r} has no row of GPT-4 with response tokens")
    for name in _BURSTGPT[1:]:
        lens = pd.to_numeric(frame[name], errors="coerce")
        for place in frame.index[~(lens.between(0, MOST_TOKENS) & (lens % 1 == 0))][:1]:
            raise _not_tokens(path, int(place) + 2, name, str(frame[name][place]))
    return frame
