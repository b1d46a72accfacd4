"""Filters, repeats and shuffles samples: the same seed gives the same samples as in vLLM."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.sample import Progress, SampleRequest

T = TypeVar("T")


def fits(
    prompt_len: int,
    output_len: int,
    *,
    least: int = 4,
    most_prompt: int = 1024,
    most_total: int = 2048,
    any_output: bool = False,
) -> bool:
    """Whether these lengths (tokens) are allowed. ``any_output``: skip the check of the output's
    minimum, because the length was set by a flag.
    """
    if prompt_len < least or (output_len < least and not any_output):
        return False
    return prompt_len <= most_prompt and prompt_len + output_len <= most_total


def oversample(requests: list[SampleRequest], config: RunConfig) -> list[SampleRequest]:
    """Append random repeats up to ``--num-prompts``, unless ``--no-oversample``. In place."""
    missing = config.num_prompts - len(requests)
    if config.no_oversample or missing <= 0 or not requests:
        return requests
    rng = random.Random(config.seed)
    originals, used, number = requests[:], {r.request_id for r in requests}, len(requests)
    for _ in range(missing):
        while f"{config.request_id_prefix}{number}" in used:  # ids of rows may have gaps
            number += 1
        request_id = f"{config.request_id_prefix}{number}"
        requests.append(replace(rng.choice(originals), request_id=request_id))
        number += 1
    return requests


def collect(
    samples: Iterable[SampleRequest], config: RunConfig, progress: Progress, total: int
) -> list[SampleRequest]:
    """``samples`` as a list, with request ids from 0; ``progress`` is called for each."""
    found: list[SampleRequest] = []
    for sample in samples:
        sample.request_id = f"{config.request_id_prefix}{len(found)}"
        found.append(sample)
        progress(len(found), total)
    return found


def reference(row: Json, config: RunConfig) -> str | None:
    """The answer that ``--check-answers exact:FIELD`` expects for a row; None if it has none."""
    kind, _, field = (config.check_answers or "").partition(":")
    value = row.get(field) if kind == "exact" else None
    return None if value is None else str(value)


def shuffle(rows: list[T], config: RunConfig) -> None:
    """Shuffle in place with ``--seed``, unless ``--disable-shuffle``."""
    if not config.disable_shuffle:
        random.Random(config.seed).shuffle(rows)


def own_output_len(row: Json, line: int, config: RunConfig) -> int:
    """``--custom-output-len``, or the line's ``output_tokens`` if it is -1. Raises ConfigError."""
    if config.custom_output_len != -1:
        return int(config.custom_output_len)
    value = row.get("output_tokens")
    try:  # vLLM takes "12" and 12.0, too
        length = 0 if isinstance(value, bool) or value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        length = 0
    if length < 1:
        what = "needs a whole number of 1 or more as 'output_tokens'"
        more = "because of --custom-output-len -1"
        raise ConfigError(f"--dataset-path: {config.dataset_path!r} line {line} {what}, {more}")
    return length
