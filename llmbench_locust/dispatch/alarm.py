"""An alarm clock on gevent's loop that rings within tens of microseconds of the time that it was set to.

libev rounds its timers to whole milliseconds; a timerfd (absolute, CLOCK_MONOTONIC, which is what `time.perf_counter` reads on
Linux) does not. Where the system has none, a plain gevent timer stands in.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_CLOCK_MONOTONIC = 1


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


class _ITimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


def _libc() -> Any:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return libc if hasattr(libc, "timerfd_create") else None
    except OSError:
        return None


_LIBC = _libc()


class Alarm:
    """Calls ``ring()`` in the hub once the time set has come. The callback must not block."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = gevent.get_hub().loop
        self._timer: Any = None
        self._io: Any = None
        self._fd = -1
        if _LIBC is not None:
            self._fd = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd >= 0:
            self._spec = _ITimerspec()
            self._io = self._loop.io(self._fd, 1)
            self._io.start(self._on_ready)

    def set(self, at_s: float) -> None:
        """Ring at ``at_s`` (seconds of perf_counter); a time in the past rings in the next turn of the loop."""
        if self._fd >= 0:
            at_s = max(at_s, 1e-6)  # zero would disarm it
            self._spec.value.sec = int(at_s)
            self._spec.value.nsec = int((at_s - int(at_s)) * 1e9)
            _LIBC.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)
            return
        if self._timer is not None:
            self._timer.close()
        self._timer = self._loop.timer(max(0.0, at_s - perf_counter()))
        self._timer.start(self._ring)

    def _on_ready(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._ring()

    def close(self) -> None:
        """Never rings again."""
        if self._io is not None:
            self._io.stop()
            self._io.close()
            self._io = None
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
