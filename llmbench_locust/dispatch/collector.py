"""Runs the cyclic garbage collector during a run in frequent, short steps."""

from __future__ import annotations

import gc
import resource
from time import perf_counter

import gevent

from llmbench_locust.transport.gaps import Gaps

#: Target duration of a step, and bounds of the pause between two steps (seconds).
AIM_S = 0.0003
SHORTEST_S, LONGEST_S = 0.01, 0.5
#: More new objects than this are not scanned but frozen as permanent: they come from the start of
#: thousands of requests at once.
BURST = 10_000
#: When the process has grown by this factor, cycles may have survived a step. This is checked only
#: that often, because a search for them takes 20 ms with thousands of requests in flight, and a
#: starting run grows without any.
GROWN = 1.25
LOOK_S = 60.0


class SteeredCollector:
    """Keeps the collector from blocking the loop: existing objects are frozen, and only young ones
    are scanned.

    A full collection of a process with a tokenizer, a plan and Locust takes tenths of a second, and
    one of the objects of a thousand requests takes ten milliseconds, which would be measured as
    the server's latency. Steps of a few hundred objects are not noticeable. Our own code frees its
    objects without a collector; this is for cycles in other packages.
    """

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps
        self._enabled = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        self._size = _peak_size()
        self._looked_s = perf_counter()
        self._greenlet = gevent.spawn(self._run)

    def freeze(self) -> None:
        """Exclude all existing objects from garbage collection. Takes no time."""
        gc.freeze()

    def close(self) -> None:
        """Return garbage collection to Python."""
        self._greenlet.kill(block=False)
        gc.unfreeze()
        if self._enabled:
            gc.enable()

    def _run(self) -> None:
        pause_s = LONGEST_S
        while True:
            gevent.sleep(pause_s)
            self._gaps.wait(2 * AIM_S)
            pause_s = next_pause_s(pause_s, self._step())

    def _step(self) -> float:
        """Run one step; returns its duration in seconds."""
        began = perf_counter()
        if gc.get_count()[0] > BURST:
            gc.freeze()
            return AIM_S * 2
        gc.collect(0)
        ended = perf_counter()
        if ended - self._looked_s > LOOK_S:
            self._looked_s = ended
            self._look(_peak_size())
        return ended - began

    def _look(self, size: int) -> None:
        if size > GROWN * self._size:
            self._size = size
            gc.collect(1)


def next_pause_s(pause_s: float, took_s: float) -> float:
    """The next pause, after one of ``pause_s`` and a step of ``took_s``, which grow together."""
    return min(LONGEST_S, max(SHORTEST_S, pause_s * min(2.0, AIM_S / max(took_s, 1e-9))))


def _peak_size() -> int:
    """Peak memory of this process so far, in the system's unit."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
