"""The exceptions of the package. The class depends on what is at fault.

    BenchError
    ├── ConfigError     bad input: a flag, a file, a combination; one line, exit status 2
    └── SetupError      the server never became ready, no model was listed; one line, exit status 1
        └── Interrupted     the user stopped the test before the run sent its first request

A fault of the server during a run raises nothing: it is data in that request's record.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of all errors that end a run with one clear line instead of a traceback."""

    exit_code = 1


class ConfigError(BenchError):
    """Bad input. The message names the flag, what was wrong and what is allowed."""

    exit_code = 2


class SetupError(BenchError):
    """The run could not begin: the server is not ready, or does not say what it serves."""


class Interrupted(SetupError):
    """The user stopped the test before this run sent its first request."""

    def __init__(self) -> None:
        super().__init__("interrupted before the first request was sent")


def first_line(error: Exception) -> str:
    """The first line of its message, cut at 300 characters; its type where there is none."""
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__


def last_line(output: str) -> str:
    """The last line of a failed program's output, without the prefix of our own commands."""
    line = (output.strip().splitlines() or ["no message"])[-1]
    return line.removeprefix("llmbench: ").removeprefix("error: ")


def cause_of(error: BaseException) -> BaseException:
    """The operating system's error below the layers of an HTTP library, else ``error``."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen
        inner = [getattr(seen, "reason", None), *seen.args, seen.__cause__, seen.__context__]
        seen = next((e for e in inner if isinstance(e, BaseException)), None)
    return error


def did_you_mean(word: str, allowed: Iterable[str], otherwise: str = "") -> str:
    """A hint with the most similar allowed word, or ``otherwise`` if none is similar."""
    near = difflib.get_close_matches(word, list(allowed), 1)
    return f"did you mean {near[0]}?" if near else otherwise
