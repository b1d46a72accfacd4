"""What the web page needs of the benchmark; it formats nothing itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.run.report import Report


class Bench(Protocol):
    """``open_loop``: arrivals follow a plan. ``fixed``: flags that only the start can set."""

    @property
    def live(self) -> LiveStats: ...

    @property
    def report(self) -> Report | None:
        """The report of the latest run that has finished."""

    @property
    def open_loop(self) -> bool: ...

    @property
    def fixed(self) -> Collection[str]: ...

    def plan(self, form: Json) -> str:
        """What this start form asks for, in one sentence. Raises ConfigError, which refuses it."""

    def stop(self) -> None:
        """Call off a run that is being prepared."""
