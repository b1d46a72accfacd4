"""Lines for the person at the terminal. A reader that left (``… | head``) or a full disk under a
redirected output ends no run.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(line: str) -> None:
    """A line on standard output."""
    try:
        print(line, flush=True)
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
