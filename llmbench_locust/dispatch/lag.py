"""Samples the event loop's lag."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import perf_counter

from llmbench_locust.transport.alarm import Alarm

#: Time between two samples of the loop's lag.
SAMPLE_S = 0.02


class LagSampler:
    """Measures every 20 ms by how many seconds the loop served an alarm late: ``lag_s`` (array of
    doubles).

    Only if ``busy()`` says that requests are or were in flight at this or the last alarm: lag at
    other times affects no figure.
    """

    def __init__(self, busy: Callable[[], bool]) -> None:
        self.lag_s = array("d")
        self._busy = busy
        self._was_busy = False
        self._alarm = Alarm(self._ring)
        self._next_s = perf_counter() + SAMPLE_S
        self._alarm.set(self._next_s)

    def _ring(self) -> None:
        now = perf_counter()
        busy = self._busy()
        if busy or self._was_busy:
            self.lag_s.append(max(0.0, now - self._next_s))
        self._was_busy = busy
        missed = max(0, int((now - self._next_s) / SAMPLE_S))  # missed alarms count once
        self._next_s += SAMPLE_S * (1 + missed)
        # Set anew each time: a periodic timer could already have fired for an alarm counted here.
        self._alarm.set(self._next_s)

    def take(self) -> array[float]:
        taken, self.lag_s = self.lag_s, array("d")
        return taken

    def close(self) -> None:
        self._alarm.close()


def run_queue_wait_s() -> float:
    """Seconds that this process was ready to run but others had the core (Linux; else 0)."""
    try:
        with open("/proc/self/schedstat", "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
