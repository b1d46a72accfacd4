"""Types of JSON data: any value, and an object of values."""

from __future__ import annotations

from typing import Any

JsonValue = Any
Json = dict[str, JsonValue]
