"""Lines for the person at the terminal. A reader that left (``… | head``) or a full disk under a
redirected output ends no run.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

#: Colors of lines by their beginning, where standard output is a terminal.
_COLORS = {
    "Client: not": 32,
    "PASS": 32,
    "Client: WAS": 31,
    "FAIL": 31,
    "!!!!": 31,
    "warning:": 33,
}


def say(line: str) -> None:
    """A line, or several, on standard output."""
    try:
        print(_colored(line), flush=True)
    except OSError as e:
        _mute(sys.stdout)
        if not isinstance(e, BrokenPipeError):
            warn(f"warning: standard output cannot be written: {e.strerror}")


def warn(line: str) -> None:
    """A line on standard error."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _mute(sys.stderr)


def _mute(stream: TextIO) -> None:
    """Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _colored(text: str) -> str:
    if "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return "\n".join(
        next(
            (f"\033[{color}m{line}\033[0m" for b, color in _COLORS.items() if line.startswith(b)),
            line,
        )
        for line in text.split("\n")
    )
