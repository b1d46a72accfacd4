"""How late this process runs: the loop's lag, sampled."""

from __future__ import annotations

from array import array
from time import perf_counter

from llmbench_locust.dispatch.alarm import Alarm

#: Time between two samples of the loop's lag.
SAMPLE_S = 0.02


class LagSampler:
    """Collects, every 20 ms, how many seconds late the loop served an alarm: ``lag_s`` (array of
    doubles).
    """

    def __init__(self) -> None:
        self.lag_s = array("d")
        self._next_s = perf_counter() + SAMPLE_S
        self._alarm = Alarm(self._ring)
        self._alarm.set(self._next_s)

    def _ring(self) -> None:
        now = perf_counter()
        self.lag_s.append(now - self._next_s)
        self._next_s = max(self._next_s + SAMPLE_S, now)
        self._alarm.set(self._next_s)

    def take(self) -> array[float]:
        """The samples since the last call."""
        taken, self.lag_s = self.lag_s, array("d")
        return taken

    def close(self) -> None:
        self._alarm.close()
