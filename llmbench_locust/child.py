"""Runs other commands. A started command ends before this process does, however that ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from types import FrameType
from typing import IO, NoReturn

from llmbench_locust.terminal import warn

#: How a line begins in which `serve` says why it does not begin yet.
WAITING = "Waiting for "
#: Ctrl-C in a terminal reaches the child, too: it has this long to end by itself.
BY_ITSELF_S = 2.0
#: Then it is terminated and has this long to write its files.
IN_ORDER_S = 60.0


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit(143), so that started processes can be ended."""
    before = {
        number: signal.signal(number, _leave)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def run(words: Sequence[str], *, show: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. If this process is interrupted, the command may shut down first.

    ``show``: its standard output is not captured. Of its standard error, the lines that say what
    the command waits for are shown, too. Raises OSError if it cannot be started.
    """
    process = subprocess.Popen(
        words,
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    out, err = _Reader(process.stdout), _Reader(process.stderr)
    try:
        return subprocess.CompletedProcess(list(words), process.wait(), out.text(), err.text())
    except BaseException:
        _end(process)
        raise


class _Reader(Thread):
    """Reads a pipe to its end, so that its writer never blocks."""

    def __init__(self, pipe: IO[str] | None) -> None:
        super().__init__(daemon=True)
        self._pipe, self._lines = pipe, list[str]()
        self.start()

    def run(self) -> None:
        for line in self._pipe or ():
            self._lines.append(line)
            if line.startswith(WAITING):
                warn(line.rstrip("\n"))

    def text(self) -> str:
        self.join()
        return "".join(self._lines)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=BY_ITSELF_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(timeout=IN_ORDER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
