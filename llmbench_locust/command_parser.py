"""The argument parser of every `llmbench` command: bad input is one line and exit status 2."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from llmbench_locust.errors import ConfigError


class CommandParser(argparse.ArgumentParser):
    """argparse without abbreviations; raises ConfigError for bad input instead of exiting."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(
                prog, max_help_position=32, width=100
            ),
        )

    def add_count(self, flag: str, default: int, bounds: tuple[int, int], what: str) -> None:
        """An option that takes a whole number; its help is ``what`` and the default."""
        text = f"{what} (default {default})"
        kind = bounded(int, *bounds)
        self.add_argument(flag, type=kind, default=default, metavar="N", help=text)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def bounded(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """The ``type`` of an option that takes a number from ``low`` to ``high``."""
    called = "whole number" if kind is int else "number"

    def convert(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text} is not allowed; use a {called} from {low:g} to {high:.12g}"
            )
        return value

    convert.__name__ = called  # argparse: "invalid whole number value: 'x'"
    return convert
