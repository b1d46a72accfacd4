"""A timer on gevent's loop that fires within tens of microseconds of the set time.

Without timerfd it falls back to a plain gevent timer, which libev rounds to whole milliseconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent

from llmbench_locust.transport.timerfd import TimerFd


class Alarm:
    """Calls ``ring()`` in the hub at the set time. The callback must not block. ``exact``: False
    does not use timerfd.
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
        """Fire at ``at_s`` (seconds of perf_counter); if that is past, in the loop's next
        iteration.
        """
        if self._exact is not None:
            self._exact.at(at_s)
        else:
            if self._timer is not None:
                self._timer.close()
            self._timer = self._loop.timer(max(0.0, at_s - perf_counter()))
            self._timer.start(self._ring, update=True)

    def close(self) -> None:
        """Never fire again."""
        if self._exact is not None:
            self._exact.close()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
