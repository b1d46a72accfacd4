"""The web page's part of the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def install_web(environment: Any, live: Any, results: Callable[[], Any], check: Callable[[dict[str, Any]], str | None]) -> None:
    """Add our routes to Locust's web UI."""
