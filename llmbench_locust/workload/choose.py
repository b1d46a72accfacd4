"""Which samples are taken, and how often: as in vLLM, seed for seed."""

from __future__ import annotations

import random
from dataclasses import replace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.sample import SampleRequest


def fits(
    prompt_len: int,
    output_len: int,
    *,
    least: int = 4,
    most_prompt: int = 1024,
    most_total: int = 2048,
    any_output: bool = False,
) -> bool:
    """Whether these lengths (tokens) are kept. ``any_output``: the output length was given."""
    if prompt_len < least or (output_len < least and not any_output):
        return False
    return prompt_len <= most_prompt and prompt_len + output_len <= most_total


def oversample(requests: list[SampleRequest], config: RunConfig) -> list[SampleRequest]:
    """Repeats random ones up to ``--num-prompts``, unless ``--no-oversample``. In place."""
    missing = config.num_prompts - len(requests)
    if config.no_oversample or missing <= 0 or not requests:
        return requests
    rng = random.Random(config.seed)
    originals, used, number = requests[:], {r.request_id for r in requests}, len(requests)
    for _ in range(missing):
        while f"{config.request_id_prefix}{number}" in used:  # ids of rows may have gaps
            number += 1
        requests.append(
            replace(rng.choice(originals), request_id=f"{config.request_id_prefix}{number}")
        )
        number += 1
    return requests


def own_output_len(row: Json, line: int, config: RunConfig) -> int:
    """``--custom-output-len``, or the line's ``output_tokens`` if it is -1. Raises ConfigError."""
    if config.custom_output_len != -1:
        return int(config.custom_output_len)
    value = row.get("output_tokens")
    try:
        length = (
            0 if isinstance(value, bool) or value is None else int(value)
        )  # vLLM takes "12" and 12.0, too
    except (TypeError, ValueError, OverflowError):
        length = 0
    if length < 1:
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} line {line} has no whole number of 1 or "
            "more as 'output_tokens', "
            "which --custom-output-len -1 asks for"
        )
    return length
