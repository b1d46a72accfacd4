"""The console script `llmbench`: what is useful besides Locust's own command."""

from __future__ import annotations

import sys

from llmbench_locust._version import __version__
from llmbench_locust.errors import BenchError, ConfigError

_USAGE = """usage: llmbench sim [options]     an LLM server without a model (llmbench sim --help)
       llmbench --version

The benchmark itself is Locust's command: locust -f locustfiles/serve.py --help
"""


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit status (2 for bad input, with one line on stderr)."""
    argv = sys.argv[1:] if argv is None else argv
    command, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    try:
        if command == "sim":
            from llmbench_locust.simulator.settings import parse

            settings = parse(rest)
            from llmbench_locust.simulator.http_server import serve

            return serve(settings)
        if command in ("-h", "--help"):
            print(_USAGE, end="")
            return 0
        if command == "--version":
            print(f"llmbench {__version__}")
            return 0
        raise ConfigError(f"{command}: no such command; allowed: sim, --help, --version")
    except BenchError as error:
        print(f"llmbench: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
