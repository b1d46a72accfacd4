"""Exactly-once delivery of reports: resent until acknowledged, counted once."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from llmbench_locust.dispatch.messages import Report

#: Seconds without an acknowledgement before a report is resent; doubled each time.
AGAIN_S = 2.0


class Outbox:
    """The worker's side. ``send`` sends a report to the master, and may lose it."""

    def __init__(self, send: Callable[[Report], None]) -> None:
        self._send = send
        self._next = 0
        # seq → (report, when to resend it, the pause before that).
        self._open: dict[int, tuple[Report, float, float]] = {}

    def __len__(self) -> int:
        """Number of reports that the master has not acknowledged."""
        return len(self._open)

    def send(self, report: Report) -> None:
        """Send ``report``; a report about requests or about the end gets the next number."""
        if report.records is not None or len(report.sent) or len(report.unsent) or report.closed:
            report.seq, self._next = self._next, self._next + 1
            self._open[report.seq] = (report, perf_counter() + AGAIN_S, AGAIN_S)
        self._send(report)

    def acknowledged(self, seq: int) -> None:
        self._open.pop(seq, None)

    def send_again(self, now: float) -> None:
        """Resend reports that have waited too long for their acknowledgement."""
        for seq, (report, due, pause) in list(self._open.items()):
            if due <= now:
                self._open[seq] = (report, now + 2 * pause, 2 * pause)
                self._send(report)


class Seen:
    """The master's side: received numbers. Stores only those after the first missing one."""

    def __init__(self) -> None:
        self._below = 0
        self._above: set[int] = set()

    def __len__(self) -> int:
        """Numbers held."""
        return len(self._above)

    def add(self, seq: int) -> bool:
        """Whether ``seq`` is new."""
        if seq < self._below or seq in self._above:
            return False
        self._above.add(seq)
        while self._below in self._above:
            self._above.remove(self._below)
            self._below += 1
        return True
