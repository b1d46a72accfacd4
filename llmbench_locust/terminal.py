"""Output to the terminal. A closed pipe (``… | head``) or a full disk behind redirected output does
not end a run.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
from time import perf_counter
from typing import TextIO

#: Seconds between two lines of a `Status`: in a file or pipe, and on a terminal.
LINE_S = 10.0
REDRAW_S = 0.1

_ERASE = "\r\033[K"
#: Colors of lines by their beginning, where standard output is a terminal.
_COLORS = {
    "Client: not": 32,
    "Result: valid": 32,
    "PASS": 32,
    "Result: NOT": 31,
    "FAIL": 31,
    "warning:": 33,
}


def replace_unencodable() -> None:
    """A character that standard output's encoding lacks is shown as ``?`` and ends no command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(line: str) -> None:
    """A line, or several, on standard output."""
    _erase()
    try:
        print(_colored(line), flush=True)
    except OSError as e:
        _mute(sys.stdout)
        if not isinstance(e, BrokenPipeError):
            warn(f"warning: standard output cannot be written: {e.strerror}")


def warn(line: str) -> None:
    """A line on standard error."""
    _erase()
    _write(f"{line}\n")


def warn_at_once(line: str) -> None:
    """`warn` from a signal handler, which may have interrupted a print."""
    erased = _ERASE if Status._shown else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{erased}{line}\n".encode())


class Status:
    """Shows progress on standard error: on a terminal in one line that is overwritten, elsewhere as
    a line every `LINE_S`, the first after ``first_after_s``.
    """

    _shown = False

    def __init__(self, first_after_s: float = LINE_S) -> None:
        self._terminal = _is_terminal(sys.stderr)
        self._next_s = perf_counter() + (0.0 if self._terminal else first_after_s)
        if self._terminal:
            for handler in logging.getLogger().handlers:
                handler.addFilter(_erase_first)

    def show(self, line: str) -> None:
        now_s = perf_counter()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (REDRAW_S if self._terminal else LINE_S)
        if not self._terminal:
            warn(line)
            return
        line = line[: shutil.get_terminal_size().columns - 1]
        # The cursor returns, so that any other output begins at the left edge.
        _write(f"{_ERASE}{line}\r")
        Status._shown = True

    def clear(self) -> None:
        _erase()


def _erase() -> None:
    """Erase the status line from the terminal."""
    if Status._shown:
        Status._shown = False
        _write(_ERASE)


def _erase_first(record: logging.LogRecord) -> bool:
    """A log line shorter than the status line would end in the rest of it."""
    _erase()
    return True


def _write(text: str) -> None:
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        _mute(sys.stderr)


def _mute(stream: TextIO) -> None:
    """Silence ``stream``: Python would fail again when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_terminal(stream: TextIO) -> bool:
    """One that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _colored(text: str) -> str:
    if "NO_COLOR" in os.environ or not _is_terminal(sys.stdout):
        return text
    return "\n".join(
        next(
            (f"\033[{color}m{line}\033[0m" for b, color in _COLORS.items() if line.startswith(b)),
            line,
        )
        for line in text.split("\n")
    )
