"""Ctrl-C, SIGTERM and SIGHUP: the first signal stops the run and writes the report.

It aborts requests in flight, collects all outcomes and writes every file. The second signal only
prints a line. The third ends the process at once; files are written by rename, so none is partial.

The handlers are Python's, not gevent's, so they also work while a large report blocks the event
loop. A greenlet does the actual work.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import gevent

from llmbench_locust.terminal import warn_at_once

#: A worker whose terminal got Ctrl-C waits this long for its master to end it.
MASTER_ENDS_IT_S = 10.0
_AT_ONCE = 3
_ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """``status``: the exit status, None before any signal."""

    def __init__(self, stop: Callable[[], None], leave: Callable[[], None]) -> None:
        """``stop``: end and report the runs. ``leave``: end the process. Each is called once."""
        self.status: int | None = None
        self._stop = stop
        self._leave = leave
        self._count = 0

    def listen(self) -> None:
        _listen(self._on_signal, _ALL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self.status = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
            warn_at_once("Interrupted: stopping and writing results")
            _in_greenlet(self._end)
        elif self._count < _AT_ONCE:
            warn_at_once("Still writing results; a third signal ends at once, without them")
        else:
            os._exit(self.status or 1)

    def _end(self) -> None:
        self._stop()
        self._leave()


def end_quietly_before_init() -> None:
    """Handle Ctrl-C before there is anything to stop: no traceback, status 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(128 + signal.SIGINT))


def listen_as_worker(*, forked: bool) -> None:
    """Leave signals to the whole process group to the master, which ends its workers after the
    report: Ctrl-C, a closed terminal and, for workers that ``--processes`` has ``forked``, SIGTERM
    (from `timeout` or a service manager).

    Locust handles a SIGTERM to a single worker: the worker shuts down.
    """
    master, count = os.getppid(), 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == _AT_ONCE or (forked and os.getppid() != master):
            os._exit(128 + number)  # its master ends at once, too, or has ended
        if count == 1:
            _in_greenlet(lambda: raise_in_main(KeyboardInterrupt), MASTER_ENDS_IT_S)

    _listen(on_signal, _ALL if forked else (signal.SIGINT, signal.SIGHUP))


def end_with_parent() -> None:
    """From now on the kernel ends children of this process when it dies. Otherwise workers of
    ``--processes`` would keep looking for a master and join the next one.
    """
    from_main = False

    def before() -> None:
        nonlocal from_main  # the signal is sent when the forking thread ends
        from_main = threading.get_native_id() == os.getpid()

    def in_child() -> None:
        if from_main and sys.platform == "linux":
            libc: Any = ctypes.CDLL(None)
            libc.prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG

    os.register_at_fork(before=before, after_in_child=in_child)


def raise_in_main(error: type[BaseException] | BaseException) -> None:
    """Raise an exception in the main greenlet where it waits, and nowhere else.

    Python itself would raise KeyboardInterrupt at whatever line is running, for example in the
    middle of a request.
    """
    gevent.kill(gevent.get_hub().parent, error)


def _listen(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals]
) -> None:
    """Signals that the parent had ignored (nohup) stay ignored."""
    ours = [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]

    def install(what: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
        for number in ours:
            signal.signal(number, what)

    install(handler)
    # Again at the loop's first iteration: by then Locust has set its own SIGTERM handler.
    gevent.get_hub().loop.run_callback(install, handler)
    # Everything is written: the process exits with its current status.
    atexit.register(install, signal.SIG_IGN)


def _in_greenlet(what: Callable[[], None], after_s: float = 0.0) -> None:
    """Call ``what`` in the event loop's next iteration; safe in a signal handler."""
    gevent.get_hub().loop.run_callback_threadsafe(gevent.spawn_later, after_s, what)
