"""The names for what came from JSON or goes there: any value, and an object of values."""

from __future__ import annotations

from typing import Any

JsonValue = Any
Json = dict[str, JsonValue]
