"""Checks of the datasets' flags. Each failure is one line: flag, what was found, what to use."""

from __future__ import annotations

import ast
import json
import math

from llmbench_locust.datasets import DATASETS, DatasetInfo
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import JsonValue
from llmbench_locust.options.values import json_object, number


def range_ratio(text: object) -> tuple[float, float]:
    """(input, output) from a number or an object with both keys."""
    shown = str(text).strip()
    if shown.startswith("{"):
        try:
            parsed = json.loads(shown)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict) or set(parsed) != {"input", "output"}:
            raise ConfigError(
                f"--random-range-ratio: {shown!r} is not a ratio; use a number or "
                '{"input": a, "output": b}'
            )
        values = tuple(number("--random-range-ratio", str(parsed[k])) for k in ("input", "output"))
    else:
        one = number("--random-range-ratio", shown)
        values = (one, one)
    for value in values:
        if not 0 <= value < 1:
            raise ConfigError(
                f"--random-range-ratio: {value:g} is not in [0, 1); use 0 or more and less than 1"
            )
    return values[0], values[1]


def think_time(text: str) -> tuple[float, float]:
    low, colon, high = str(text).partition(":")
    first = number("--think-time", low.strip())
    last = number("--think-time", high.strip()) if colon else first
    if not 0 <= first <= last < math.inf:
        raise ConfigError(
            f"--think-time: {text!r} is not a time; use seconds, or MIN:MAX with 0 <= MIN <= MAX"
        )
    return first, last


def self_timed(given: bool | None, dataset: DatasetInfo) -> bool:
    """Whether the trace's own times are used."""
    if given and not dataset.times:
        timed = ", ".join(row.name for row in DATASETS.values() if row.times)
        raise ConfigError(
            f"--self-timed: --dataset-name {dataset.name} has no times; use one of {timed}"
        )
    return dataset.times == "used" if given is None else given


def mm_limits(given: object) -> dict[str, int]:
    """Maximum number of items by modality."""
    name = "--random-mm-limit-mm-per-prompt"
    found = given if isinstance(given, dict) else json_object(name, str(given))
    for key, value in found.items():
        if key not in ("image", "video", "audio"):
            raise ConfigError(f"{name}: {key!r} is not a modality; use image, video or audio")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(f"{name}: {key} is {value!r}; use a whole number, 0 or more")
    return found


def mm_buckets(given: object) -> dict[str, float]:
    """Probability by "(height, width, frames)". Takes JSON, and vLLM's Python form with tuples as
    keys.
    """
    name = "--random-mm-bucket-config"
    if isinstance(given, str):
        try:
            given = ast.literal_eval(given)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ConfigError(
                f"{name}: cannot be read; use an object such as "
                '{"(256, 256, 1)": 0.5, "(720, 1280, 1)": 0.5}'
            ) from None
    if not isinstance(given, dict) or not given:
        raise ConfigError(
            f'{name}: this is not an object; use one such as {{"(256, 256, 1)": 1.0}}'
        )
    found = {str(_bucket(name, key)): _share(name, key, share) for key, share in given.items()}
    if not sum(found.values()) > 0:
        raise ConfigError(f"{name}: all probabilities are 0; at least one must be above 0")
    return found


def _bucket(name: str, key: object) -> tuple[int, int, int]:
    try:
        parts = ast.literal_eval(key) if isinstance(key, str) else key
    except (ValueError, SyntaxError):
        parts = None
    if (
        not isinstance(parts, tuple)
        or len(parts) != 3
        or not all(type(p) is int and p > 0 for p in parts)
    ):
        raise ConfigError(
            f'{name}: {key!r} is not a bucket; use "(height, width, frames)" with whole '
            "numbers above 0"
        )
    return parts[0], parts[1], parts[2]


def _share(name: str, key: object, share: JsonValue) -> float:
    good = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share < math.inf
    if not good:
        raise ConfigError(
            f"{name}: the probability of {key!r} is {share!r}; use a number, 0 or more"
        )
    return float(share)
