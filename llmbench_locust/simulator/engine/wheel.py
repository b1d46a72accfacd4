"""One timer for all streams: a heap of due times with a single alarm."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush

import gevent

from llmbench_locust.transport.alarm import Alarm

#: Minimum time between wake-ups, which cost twice as much as an event. Events due within it are
#: sent together, late by less than that.
_SLACK_S = 0.00025
#: Maximum duration of an iteration; then the event loop accepts and reads before more is sent.
_TURN_S = 0.005

Callback = Callable[[float], None]


class Wheel:
    """Calls each callback in the hub at its due time (seconds of `time.monotonic`), in order.

    A callback gets its due time, so that the next one is scheduled relative to it and errors do not
    add up. It must not block. Times in the past are due at once.
    """

    def __init__(self, exact: bool = True) -> None:
        self._heap: list[tuple[float, int, Callback]] = []
        self._count = 0
        self._armed = float("inf")
        self._running = False
        self.reset()
        self._alarm = Alarm(self._run, exact)

    def reset(self) -> None:
        """Reset the lateness statistics, which tell a late server from a late client."""
        self.events = 0
        self.late_sum_s = 0.0
        self.late_max_s = 0.0

    def lateness(self) -> dict[str, float | None]:
        """How late events were sent, in ms; None without events."""
        mean = self.late_sum_s / self.events * 1e3 if self.events else None
        return {
            "events": self.events,
            "mean_ms": mean,
            "max_ms": self.late_max_s * 1e3 if self.events else None,
        }

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def at(self, due_s: float, callback: Callback) -> None:
        self._count += 1
        heappush(self._heap, (due_s, self._count, callback))
        if due_s < self._armed and not self._running:
            self._armed = due_s
            self._alarm.set(due_s)

    def _run(self) -> None:
        heap, monotonic = self._heap, time.monotonic
        self._running = True
        try:
            now = monotonic()
            enough = now + _TURN_S
            while heap and heap[0][0] <= now < enough:
                due, _, callback = heappop(heap)
                late = now - due
                self.late_sum_s += late
                if late > self.late_max_s:
                    self.late_max_s = late
                self.events += 1
                try:
                    callback(due)
                except Exception:  # gevent would stop the alarm, and so all other streams
                    gevent.get_hub().handle_error(self, *sys.exc_info())
                now = monotonic()
        finally:
            self._running = False
            if heap:
                self._armed = max(heap[0][0], monotonic() + _SLACK_S)
                self._alarm.set(self._armed)
            else:
                self._armed = float("inf")
