"""The argument parser of every `llmbench` command: bad input is one line and exit status 2."""

from __future__ import annotations

import argparse
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

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))
