"""When to look at the sockets: whenever one is readable, or, while much arrives, five hundred times
a second.

A wake-up of the process costs more than all that is done with a chunk. Where the kernel stamps
arrivals, a chunk may lie for two milliseconds and still have its right time, and one wake-up serves
all that came meanwhile. Nothing else waits: sends and timers have descriptors of their own. Only an
answer's end is seen later, and with it, under a cap, the next request goes out later: so there are
naps only while ends are rare among the reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent

from llmbench_locust.transport.timerfd import TimerFd

#: The longest that something readable lies while napping.
NAP_S = 0.002
# More wake-ups a second than this, and napping saves some; fewer reads a nap than that, and it no
# longer does.
_WAKEUPS_PER_S = 2000.0
_READS_PER_NAP = 2.0
# Least share of reads that are token events of streams under way.
_PLAIN = 0.97
_WATCHED_TURNS, _NAPPED_TURNS = 32, 128
# Events that share a read share its time. When naps bring more of them together than this share,
# chunks follow each other more closely than the naps, and each is read as it comes, for this time
# at least.
_SHARED, _AWAKE_S = 0.02, 1.0


class Figures(Protocol):
    """What is asked of the reader: totals so far, whether arrivals have the kernel's times, whether
    the last turn left some.
    """

    reads: int
    token_events: int
    shared: int
    stamped: bool
    more: bool


class Wakeups:
    """Calls ``turn()`` in the hub. ``fd``: readable when there is something to read."""

    def __init__(self, fd: int, turn: Callable[[], object], figures: Figures) -> None:
        self._turn = turn
        self._figures = figures
        self._watcher = gevent.get_hub().loop.io(fd, 1)
        self._watcher.start(self._on_ready)
        try:
            self._ticks: TimerFd | None = TimerFd(self._on_ready)
        except OSError:
            self._ticks = None
        self.napping = False
        self._awake_until_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self._left = _NAPPED_TURNS if self.napping else _WATCHED_TURNS
        self._began_s = time.perf_counter()
        figures = self._figures
        self._before = (figures.reads, figures.token_events, figures.shared)

    def _on_ready(self) -> None:
        self._turn()
        if self.napping and self._figures.more and self._ticks is not None:
            self._ticks.every(NAP_S, first_s=0.0)
        self._left -= 1
        if self._left <= 0:
            self._judge()
            self._begin()

    def _judge(self) -> None:
        now = time.perf_counter()
        figures = self._figures
        reads, events, shared = (
            after - before
            for after, before in zip(
                (figures.reads, figures.token_events, figures.shared), self._before, strict=True
            )
        )
        worth_it = figures.stamped and events >= _PLAIN * reads
        if not self.napping:
            often = now - self._began_s < _WATCHED_TURNS / _WAKEUPS_PER_S
            self._nap(worth_it and often and now > self._awake_until_s)
        elif shared > _SHARED * reads:
            self._awake_until_s = now + _AWAKE_S
            self._nap(False)
        elif not worth_it or reads < _READS_PER_NAP * _NAPPED_TURNS:
            self._nap(False)

    def _nap(self, napping: bool) -> None:
        if napping == self.napping or self._ticks is None:
            return
        self.napping = napping
        if napping:
            self._watcher.stop()
            self._ticks.every(NAP_S)
        else:
            self._ticks.every(0.0)
            self._watcher.start(self._on_ready)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        if self._ticks is not None:
            self._ticks.close()
