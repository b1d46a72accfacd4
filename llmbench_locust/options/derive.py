"""The configuration of one part of a mix: the run's, with the flags of the part."""

from __future__ import annotations

import dataclasses

from llmbench_locust.backends import backend_info
from llmbench_locust.datasets import dataset_info
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options import combinations, dataset_checks
from llmbench_locust.options.config import RunConfig, apply_lengths, goes_to_the_full_length
from llmbench_locust.options.table import FLAGS
from llmbench_locust.options.values import read

#: Flags that a part may have, by the fields that they fill.
PART_FLAGS = {row.field: row for row in FLAGS.values() if row.part}


def part_config(config: RunConfig, flags: Json, num_prompts: int) -> RunConfig:
    """``config`` with a part's ``flags`` (by name; values as in JSON). Raises ConfigError."""
    given = {key.removeprefix("--").replace("-", "_"): value for key, value in flags.items()}
    for dest in given:
        if dest not in PART_FLAGS:
            raise ConfigError(f"{dest.replace('_', '-')!r} is not a flag of a dataset")
    v: Json = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    v |= {field: read(PART_FLAGS[field], _text(value)) for field, value in given.items()}
    v |= {"mix": None, "num_prompts": num_prompts, "think_time": (0.0, 0.0), "num_sessions": None}
    name = v["dataset_name"]
    dataset = dataset_info(name)
    v["self_timed"] = dataset_checks.self_timed(
        v["self_timed"] if "self_timed" in given else None, dataset
    )
    if "multi_turn" not in given:
        v["multi_turn"] = config.multi_turn and dataset.conversations
    if not v["self_timed"]:
        v["trace_speedup"] = 1.0
    apply_lengths(v, given)
    v["ignore_eos"] = config.ignore_eos or goes_to_the_full_length(name, config.backend_info)
    combinations.numbers(v)
    combinations.combinations(v, config.backend_info)
    return RunConfig(**v)


def revived(shown: Json) -> RunConfig:
    """`RunConfig.redacted` undone, but for secrets: for reports on a run that is over. Raises
    KeyError, TypeError where it is something else.
    """
    v = {name: _tuples(value) for name, value in shown.items()}
    v["request_rate"] = float(v["request_rate"])
    v |= {"dataset_path": v["dataset_path"] or "", "save_detailed": True}
    return RunConfig(**v, backend_info=backend_info(shown["backend"]), at_home=False, typed=())


def _tuples(value: JsonValue) -> JsonValue:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _text(value: object) -> JsonValue:
    """Numbers and truth values as the command line would give them."""
    return str(value) if isinstance(value, bool | int | float) else value
