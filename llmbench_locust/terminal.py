"""Lines for the person at the terminal. A reader that left (``… | head``) ends no run."""

from __future__ import annotations

import os
import sys


def say(line: str) -> None:
    """A line on standard output."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(line: str) -> None:
    """A line on standard error."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
