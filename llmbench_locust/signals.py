"""Ctrl-C, SIGTERM and SIGHUP: the first is the order to stop and report, and survives impatience.

The first signal ends what is going on, in order: requests in flight are broken off, all outcomes
are accounted for, every file is written. A second is answered by a line. The third ends the process
at once; files are written by rename, so what was written is whole.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent

from llmbench_locust.terminal import warn

#: A worker whose terminal got Ctrl-C waits this long for its master to end it.
MASTER_ENDS_IT_S = 10.0
_AT_ONCE = 3


class Interruption:
    """``status``: what the process ends with, None while no signal came."""

    def __init__(self, stop: Callable[[], None], leave: Callable[[], None]) -> None:
        """``stop``: end and report the runs. ``leave``: end the process. Each is called once."""
        self.status: int | None = None
        self._stop = stop
        self._leave = leave
        self._count = 0

    def listen(self) -> None:
        """Take the signals over. Those that the parent had ignored (nohup) stay ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                gevent.signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        self._count += 1
        if self._count == 1:
            self.status = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
            warn("Interrupted: stopping and writing results")
            self._stop()
            self._leave()
        elif self._count < _AT_ONCE:
            warn("Still writing results; once more ends at once, without them")
        else:
            os._exit(self.status or 1)


def end_quietly_before_init() -> None:
    """Ctrl-C before there is anything to stop: no traceback, status 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(128 + signal.SIGINT))


def listen_as_worker() -> None:
    """Ctrl-C in a terminal reaches the workers, too: their master ends them when all is reported.

    SIGTERM is Locust's own: the worker leaves in order.
    """
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        return
    count = 0

    def on_signal() -> None:
        nonlocal count
        count += 1
        if count == 1:
            gevent.sleep(MASTER_ENDS_IT_S)
        elif count < _AT_ONCE:
            return
        raise_in_main(KeyboardInterrupt)

    gevent.signal_handler(signal.SIGINT, on_signal)


def raise_in_main(error: type[BaseException] | BaseException) -> None:
    """An exception in the main greenlet where it waits, and nowhere else.

    Python itself would raise KeyboardInterrupt at whatever line is running, be it the middle of a
    request or of its accounting.
    """
    gevent.kill(gevent.get_hub().parent, error)


def die_with_parent() -> None:
    """Let the kernel end this forked worker when its master dies."""
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None)
        libc.prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
