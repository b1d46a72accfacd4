"""How late this process runs: the loop's lag, sampled, and the garbage collector, steered while a run goes on."""

from __future__ import annotations

import gc
from array import array
from time import perf_counter

from llmbench_locust.dispatch.alarm import Alarm

#: Time between two samples of the loop's lag.
SAMPLE_S = 0.02


class LagSampler:
    """Collects, every 20 ms, how many seconds late the loop served an alarm: ``lag_s`` (array of doubles)."""

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


class SteeredCollector:
    """Keeps the cyclic collector from stopping the loop: all that exists is frozen, only young objects are looked at.

    A full collection of a process with a tokenizer, a plan and Locust in it takes tens of milliseconds, which would be measured
    as the server's latency. The youngest generation alone takes microseconds, and keeps memory from growing.
    """

    def __init__(self) -> None:
        self._enabled = gc.isenabled()
        self._steps = 0
        gc.collect()
        gc.freeze()
        gc.disable()

    def freeze(self) -> None:
        """What has come since is here to stay, too. Takes no time."""
        gc.freeze()

    def step(self) -> None:
        """Call about once a second."""
        self._steps += 1
        gc.collect(1 if self._steps % 16 == 0 else 0)

    def close(self) -> None:
        """Back to how it was."""
        gc.unfreeze()
        if self._enabled:
            gc.enable()
