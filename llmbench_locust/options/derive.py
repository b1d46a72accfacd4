"""The configuration of one part of a mix: the run's, with the flags of the part in place of its
own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.options import checks, combinations
from llmbench_locust.options.config import RunConfig, apply_lengths, goes_to_the_full_length
from llmbench_locust.options.table import FLAGS, GROUPS
from llmbench_locust.options.values import read

_DATASET_GROUPS = tuple(name for name in GROUPS if name.endswith(" dataset"))
_GENERAL = (
    "seed",
    "dataset_name",
    "dataset_path",
    "no_stream",
    "no_oversample",
    "skip_chat_template",
    "disable_shuffle",
    "enable_multimodal_chat",
    "input_len",
    "output_len",
    "self_timed",
    "multi_turn",
)

#: Flags that a part may have, by attribute name.
PART_FLAGS: tuple[str, ...] = (
    *_GENERAL,
    *(flag.dest for group in _DATASET_GROUPS for flag in GROUPS[group]),
    *(flag.dest for flag in GROUPS["traces"] if flag.dest not in ("self_timed", "trace_speedup")),
)


def part_config(config: RunConfig, flags: dict[str, Any], num_prompts: int) -> RunConfig:
    """``config`` for ``num_prompts`` requests with ``flags`` (by name, with - or _; values as in
    JSON). Raises ConfigError.
    """
    given = {key.removeprefix("--").replace("-", "_"): value for key, value in flags.items()}
    for dest in given:
        if dest not in PART_FLAGS:
            raise ConfigError(f"{dest.replace('_', '-')!r} is no flag of a dataset")
    v: dict[str, Any] = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(config)
    }
    v |= {dest: read(FLAGS[dest], _text(value)) for dest, value in given.items()}
    v |= {"mix": None, "num_prompts": num_prompts, "think_time": (0.0, 0.0)}
    name = v["dataset_name"]
    if "random_range_ratio" in given:
        v["random_range_ratio"] = checks.range_ratio(v["random_range_ratio"])
    v["random_mm_limit_mm_per_prompt"] = checks.mm_limits(v["random_mm_limit_mm_per_prompt"])
    v["random_mm_bucket_config"] = checks.mm_buckets(v["random_mm_bucket_config"])
    v["self_timed"] = checks.self_timed(v["self_timed"] if "self_timed" in given else None, name)
    if "multi_turn" not in given:
        v["multi_turn"] = config.multi_turn and name == "sharegpt"
    if not v["self_timed"]:
        v["trace_speedup"] = 1.0
    apply_lengths(v, given)
    v["ignore_eos"] = config.ignore_eos or goes_to_the_full_length(name, config.backend_info)
    combinations.numbers(v)
    combinations.combinations(v, config.backend_info)
    return RunConfig(**v)


def _text(value: Any) -> Any:
    """Numbers and truth values as the command line would give them."""
    return str(value) if isinstance(value, bool | int | float) else value
