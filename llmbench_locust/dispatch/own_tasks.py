"""Requests that users' own tasks send, counted as `Dispatcher` counts those of a plan."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from llmbench_locust.dispatch.tickets import Ticket


class OwnTasks:
    """No schedule, no concurrency limit, no lease: a closed loop sends when its users do."""

    permits: int | None = None
    free_permits = waiting = overflow = 0
    lapsed_s = 0.0

    def __init__(self) -> None:
        self.sent = array("q")
        self.send_lag_s = array("d")
        self.offered = 0
        self.in_flight = 0

    def begin(self) -> int:
        """A user starts a request; returns its index, counted from 0 in this process."""
        index = self.offered
        self.offered += 1
        self.in_flight += 1
        self.sent.append(index)
        return index

    def end(self) -> None:
        """A request has its outcome, or its user was stopped."""
        self.in_flight -= 1

    def add(self, tickets: Iterable[Ticket]) -> list[int]:
        """There are no tickets."""
        return []

    def lease(self, until_s: float) -> None:
        """Nothing waits for a lease."""

    def go(self, start_s: float) -> None:
        """The users send by themselves."""

    def drop(self) -> None:
        """There are no tickets."""

    def halt(self) -> list[int]:
        """Locust stops the users."""
        return []

    def close(self) -> list[int]:
        return []
