"""Conversion of values to strict JSON."""

from __future__ import annotations

import math
import sys

import numpy as np

from llmbench_locust.json_types import Json, JsonValue


def json_value(value: object) -> JsonValue:
    """``value`` as strict JSON: NaN becomes null, infinity "inf", an unknown type its text."""
    if isinstance(value, dict):
        return {str(k): json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def as_object(value: object) -> Json:
    """``value`` if it is a JSON object, else {}."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """``value`` if it is a finite number, else None: a result may hold "inf" or null."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= sys.float_info.max else None  # JSON has larger integers
