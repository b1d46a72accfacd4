"""`llmbench bench serve …`: the same as `llmbench serve …`, for those who replace one word."""

from __future__ import annotations

from llmbench_locust.cli import serve
from llmbench_locust.errors import ConfigError


def main(argv: list[str]) -> int:
    """Run the command that follows ``bench``. Raises ConfigError for an unknown command."""
    command, *rest = argv or ["--help"]
    commands = {"serve": serve.main}
    if command in ("-h", "--help"):
        print(f"usage: llmbench bench {{{','.join(commands)}}} [options]")
        return 0
    if command not in commands:
        raise ConfigError(f"bench {command}: no such command; allowed: {', '.join(commands)}")
    return commands[command](rest)
