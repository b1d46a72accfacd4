"""A worker as the master sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmbench_locust.dispatch.clock_sync import ClockOffset
from llmbench_locust.dispatch.messages import Report
from llmbench_locust.dispatch.reports import Seen


@dataclass(slots=True)
class WorkerState:
    """One worker in one run. Times are the master's; ``cpu_*``: (CPU seconds used, clock in
    seconds) at its first and its latest report. ``closed``: it has told everything.
    """

    number: int
    id: str
    ready: bool = False
    going: bool = False
    lost: bool = False
    closed: bool = False
    clock: ClockOffset = field(default_factory=ClockOffset)
    pid: int = 0
    host: str = ""
    prewarmed: int = 0
    refused: str = ""
    heard_s: float = 0.0
    lease_until_s: float = float("-inf")
    seen: Seen = field(default_factory=Seen)
    latest: Report | None = None
    cpu_start: tuple[float, float] | None = None
    cpu_last: tuple[float, float] | None = None
