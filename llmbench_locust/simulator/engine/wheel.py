"""One timer for all streams: a heap of due times behind a single timerfd of the kernel.

libev rounds its timers up to whole milliseconds, which a server whose schedule is to be exact
cannot afford; a timerfd is exact to microseconds and is one descriptor however many streams wait.
Where the platform has none, libev's timer serves.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import gevent

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_CLOCK_MONOTONIC = 1

#: A wake-up costs twice what an event does, so the next one is no sooner than this. Only a dense
#: schedule notices: what falls due within it leaves together, late by less than that.
_SLACK_S = 0.00025
#: The longest turn; then the event loop accepts and reads again before the rest of what is due goes
#: out.
_TURN_S = 0.005

Callback = Callable[[float], None]


class _Itimerspec(ctypes.Structure):
    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    ]


class _KernelTimer:
    """A timerfd that is armed with absolute times of `time.monotonic`."""

    def __init__(self, fire: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime = libc.timerfd_settime
        self._spec = _Itimerspec(0, 0, 0, 0)
        self._ref = ctypes.byref(self._spec)
        self._watcher = gevent.get_hub().loop.io(self._fd, 1)
        self._watcher.start(fire)

    def arm(self, due_s: float) -> None:
        """Fire at `due_s`; also forgets an expiry that nobody has read."""
        spec = self._spec
        spec.value_s = whole = int(due_s)
        spec.value_ns = int((due_s - whole) * 1e9) or 1
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._ref, None)

    def disarm(self) -> None:
        self._spec.value_s = self._spec.value_ns = 0
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._ref, None)


class _LoopTimer:
    """The same on libev's own timer, to about a millisecond."""

    def __init__(self, fire: Callable[[], None]) -> None:
        self._fire = fire
        self._loop = gevent.get_hub().loop
        self._timer: Any = None

    def arm(self, due_s: float) -> None:
        self.disarm()
        self._timer = self._loop.timer(max(0.0, due_s - time.monotonic()))
        self._timer.start(self._fire, update=True)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None


class Wheel:
    """Calls each callback at its due time (seconds of `time.monotonic`), in order of due times, in
    the hub.

    A callback gets its own due time, so that what it schedules next builds on the schedule and
    errors never add up. It must not block. Times in the past are due at once.
    """

    def __init__(self, kernel_timer: bool = True) -> None:
        self._heap: list[tuple[float, int, Callback]] = []
        self._count = 0
        self._armed = float("inf")
        self._running = False
        self.reset()
        self._timer: _KernelTimer | _LoopTimer
        try:
            self._timer = _KernelTimer(self._run) if kernel_timer else _LoopTimer(self._run)
        except (AttributeError, OSError):  # no Linux
            self._timer = _LoopTimer(self._run)

    def reset(self) -> None:
        """Forget how late events were: their own fault, which nobody should take for a client's."""
        self.events = 0
        self.late_sum_s = 0.0
        self.late_max_s = 0.0

    def lateness(self) -> dict[str, float | None]:
        """How late events left against their schedule, in ms. None while there was none."""
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
            self._timer.arm(due_s)

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
                except (
                    Exception
                ):  # gevent would stop the watcher, and with it the time of all the others
                    gevent.get_hub().handle_error(self, *sys.exc_info())
                now = monotonic()
        finally:
            self._running = False
            if heap:
                self._armed = max(heap[0][0], monotonic() + _SLACK_S)
                self._timer.arm(self._armed)
            else:
                self._armed = float("inf")
                self._timer.disarm()
