"""Decides when to poll the sockets: whenever one is readable, or a few hundred times a second under
heavy traffic.

Waking the process costs more than processing a chunk. With kernel timestamps a chunk may wait for
some milliseconds and still get its right time, and one wake-up serves all chunks that arrived
meanwhile ("a nap"). Nothing else is delayed: sends and timers have their own descriptors. Only the
end of a response is seen later. If something waits for it (a concurrency limit, a session's next
turn), naps are short; and there are naps only while few reads are ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent

from llmbench_locust.transport.timerfd import TimerFd

#: Maximum length of a nap if something waits for the ends of responses, and if nothing does.
NAP_S, LONG_NAP_S = 0.002, 0.005
# Naps start at more wake-ups per second than this, and stop at fewer reads per nap than that.
_WAKEUPS_PER_S = 2000.0
_READS_PER_NAP = 2.0
# Minimum share of reads that are token events of running streams.
_PLAIN = 0.97
_WATCHED_TURNS, _NAPPED_TURNS = 32, 64
# Events that share a read share its time. If more than this share of events does (beyond one by
# chance), the chunks are closer together than the naps, which then get shorter or stop. Each time,
# that lasts twice as long, so that retries distort fewer times; after each period of longest naps
# without a shared read it lasts half as long.
_SHARED, _BY_CHANCE = 0.01, 1
_LEAST_HOLD_S, _MOST_HOLD_S = 1.0, 64.0


class Figures(Protocol):
    """What this needs from the reader: totals so far, whether arrivals have the kernel's times,
    whether the last round left some, and how long a nap may be.
    """

    reads: int
    token_events: int
    shared: int
    stamped: bool
    more: bool

    @property
    def longest_nap_s(self) -> float: ...


class Wakeups:
    """Calls ``turn()`` in the hub. ``fd``: readable when there is something to read. ``nap_s``:
    current length of naps, 0 for none.
    """

    def __init__(self, fd: int, turn: Callable[[], object], figures: Figures) -> None:
        self._turn = turn
        self._figures = figures
        self._watcher = gevent.get_hub().loop.io(fd, 1)
        self._watcher.start(self._on_ready)
        try:
            self._ticks: TimerFd | None = TimerFd(self._on_ready)
        except OSError:
            self._ticks = None
        self.nap_s = 0.0
        self._hold_s = _LEAST_HOLD_S
        self._held_until_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self._left = _NAPPED_TURNS if self.nap_s else _WATCHED_TURNS
        self._began_s = time.perf_counter()
        figures = self._figures
        self._before = (figures.reads, figures.token_events, figures.shared)

    def _on_ready(self) -> None:
        self._turn()
        if self.nap_s and self._figures.more and self._ticks is not None:
            self._ticks.every(self.nap_s, first_s=0.0)
        self._left -= 1
        if self._left <= 0:
            self._nap(self._judge())
            self._begin()

    def _judge(self) -> float:
        """The next length of naps, in seconds."""
        now = time.perf_counter()
        figures = self._figures
        reads, events, shared = (
            after - before
            for after, before in zip(
                (figures.reads, figures.token_events, figures.shared), self._before, strict=True
            )
        )
        if not figures.stamped or events < _PLAIN * reads:
            return 0.0
        held = now < self._held_until_s
        if not self.nap_s:
            often = now - self._began_s < _WATCHED_TURNS / _WAKEUPS_PER_S
            return NAP_S if often and not held else 0.0
        if shared > _SHARED * reads + _BY_CHANCE:
            self._held_until_s = now + self._hold_s
            self._hold_s = min(2 * self._hold_s, _MOST_HOLD_S)
            return NAP_S if self.nap_s > NAP_S else 0.0
        if reads < _READS_PER_NAP * _NAPPED_TURNS:
            return 0.0
        longest_s = figures.longest_nap_s
        if held:
            return min(self.nap_s, longest_s)
        if self.nap_s == longest_s:
            self._hold_s = max(self._hold_s / 2, _LEAST_HOLD_S)
        return longest_s

    def _nap(self, nap_s: float) -> None:
        if nap_s == self.nap_s or self._ticks is None:
            return
        self._ticks.every(nap_s)
        if not nap_s:
            self._watcher.start(self._on_ready)
        elif not self.nap_s:
            self._watcher.stop()
        self.nap_s = nap_s

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        if self._ticks is not None:
            self._ticks.close()
