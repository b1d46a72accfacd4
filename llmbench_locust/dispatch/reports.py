"""Exactly-once delivery: resent until acknowledged, handled once."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from llmbench_locust.dispatch.messages import Numbered, Report

#: Seconds without an acknowledgement before a message is resent; doubled each time.
AGAIN_S = 2.0


class Outbox:
    """The sender's side. ``send`` sends a message, and may lose it."""

    def __init__(self, send: Callable[[Report | Numbered], None]) -> None:
        self._send = send
        self._next = 0
        # seq → (message, when to resend it, the pause before that).
        self._open: dict[int, tuple[Report | Numbered, float, float]] = {}

    def __len__(self) -> int:
        """Number of messages that are not acknowledged."""
        return len(self._open)

    def send(self, message: Report | Numbered) -> None:
        """Send ``message``; it gets the next number, unless it is a report of figures only."""
        if not isinstance(message, Report) or _matters(message):
            message.seq, self._next = self._next, self._next + 1
            self._open[message.seq] = (message, perf_counter() + AGAIN_S, AGAIN_S)
        self._send(message)

    def acknowledged(self, seq: int) -> None:
        self._open.pop(seq, None)

    def send_again(self, now: float) -> None:
        """Resend messages that have waited too long for their acknowledgement."""
        for seq, (message, due, pause) in list(self._open.items()):
            if due <= now:
                self._open[seq] = (message, now + 2 * pause, 2 * pause)
                self._send(message)


def _matters(report: Report) -> bool:
    """Whether a report is about requests or about the end."""
    about_requests = report.records is not None or len(report.sent) or len(report.unsent)
    return bool(about_requests or report.closed)


class Seen:
    """The receiver's side: received numbers. Stores only those after the first missing one."""

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
