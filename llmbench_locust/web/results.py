"""The interface that the web page needs from the benchmark; it formats nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.run.report import Report


class Bench(Protocol):
    """``open_loop``: arrivals follow a plan. ``fixed``: flags that can be set only at startup."""

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
        """What this start form would run, in one sentence. Raises ConfigError if it is invalid."""

    def until_ended(self) -> bool:
        """Wait until the test before is over. Returns False if that takes long."""

    def stop(self) -> None:
        """Cancel a run that is being prepared."""
