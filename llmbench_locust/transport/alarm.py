"""An alarm clock on gevent's loop that rings within tens of microseconds of the time that it was
set to.

Where the system has no timerfd, a plain gevent timer stands in, which libev rounds to whole
milliseconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent

from llmbench_locust.transport.timerfd import TimerFd


class Alarm:
    """Calls ``ring()`` in the hub once the time set has come. The callback must not block.
    ``exact``: False does without the timerfd.
    """

    def __init__(self, ring: Callable[[], None], exact: bool = True) -> None:
        self._ring = ring
        self._timer: Any = None
        self._exact: TimerFd | None = None
        self._loop = gevent.get_hub().loop
        if exact:
            with contextlib.suppress(OSError):
                self._exact = TimerFd(ring)

    def set(self, at_s: float) -> None:
        """Ring at ``at_s`` (seconds of perf_counter); a time in the past rings in the next turn of
        the loop.
        """
        if self._exact is not None:
            self._exact.at(at_s)
        else:
            self._start(max(0.0, at_s - perf_counter()), 0.0)

    def every(self, period_s: float) -> None:
        """Ring every ``period_s`` seconds from now on; what the loop is late for rings once."""
        if self._exact is not None:
            self._exact.every(period_s)
        else:
            self._start(period_s, period_s)

    def _start(self, first_s: float, period_s: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._timer = self._loop.timer(first_s, period_s)
        self._timer.start(self._ring, update=True)

    def close(self) -> None:
        """Never rings again."""
        if self._exact is not None:
            self._exact.close()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
