"""The one name for an object that came from JSON or goes there: its values may be anything."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
