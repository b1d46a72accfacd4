"""Linux's timerfd, watched by gevent's hub. libev would round timers to whole milliseconds."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import gevent

_NONBLOCK = os.O_NONBLOCK
_CLOEXEC = 0o2000000
_ABSTIME = 1
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


class TimerFd:
    """Calls ``ring()`` in the hub at the set time. The callback must not block. Raises OSError if
    the system has no timerfd.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._fd = (
            -1 if _LIBC is None else _LIBC.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
        )
        if self._fd < 0:
            raise OSError("no timerfd on this system")
        self._ring = ring
        self._spec = _ITimerspec()
        self._io = gevent.get_hub().loop.io(self._fd, 1)
        self._io.start(self._on_ready)

    def at(self, at_s: float) -> None:
        """Fire once at ``at_s`` (seconds of `time.perf_counter`, which is CLOCK_MONOTONIC); at once
        if that has passed.
        """
        self._set(max(at_s, 1e-6), 0.0, _ABSTIME)  # zero would disarm it

    def every(self, period_s: float, first_s: float | None = None) -> None:
        """Fire every ``period_s`` seconds, first after ``first_s`` (default: one period); a period
        of 0 stops it.
        """
        self._set(period_s if first_s is None else max(first_s, 1e-6), period_s, 0)

    def _set(self, value_s: float, interval_s: float, flags: int) -> None:
        value, interval = self._spec.value, self._spec.interval
        value.sec, value.nsec = int(value_s), int((value_s - int(value_s)) * 1e9)
        interval.sec, interval.nsec = int(interval_s), int((interval_s - int(interval_s)) * 1e9)
        _LIBC.timerfd_settime(self._fd, flags, ctypes.byref(self._spec), None)

    def _on_ready(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._ring()

    def close(self) -> None:
        """Never fire again."""
        if self._fd >= 0:
            self._io.stop()
            self._io.close()
            os.close(self._fd)
            self._fd = -1
