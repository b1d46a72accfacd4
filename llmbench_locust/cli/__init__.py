"""The console script `llmbench`: finds the command in a table, imports its module and runs it.

Each module of this package is one command with `main(argv) -> int`, which returns the exit status.
"""

from __future__ import annotations

import importlib
import os
import sys

from llmbench_locust._version import __version__
from llmbench_locust.errors import BenchError, ConfigError, did_you_mean
from llmbench_locust.terminal import replace_unencodable

# Command → its line in `llmbench --help`. The module in this package has the command's name.
COMMANDS = {
    "serve": "benchmark a server: one run with the flags of `vllm bench serve`",
    "capacity": "find the largest load that meets your latency objectives",
    "sweep": "run a grid of settings, in the directories of `vllm bench sweep`",
    "plot": "draw the curves of sweeps and capacity searches",
    "ui": "benchmark in a browser: start form, live figures, results",
    "bench": "`llmbench bench serve …` is `llmbench serve …`",
    "compare": "compare two sides of result files; can fail a CI job",
    "report": "show result files of llmbench and other tools as a page or a table",
    "ab": "run two servers or settings in turn, and compare them",
    "calibrate": "measure how exact this client is on this machine",
    "sim": "run a simulated LLM server",
    "locustfile": "print a commented locustfile to start your own from",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status (2 for bad input, with one line on stderr)."""
    replace_unencodable()
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if command in ("-h", "--help"):
            print(_usage(), end="")
            return 0
        if command == "--version":
            print(f"llmbench {__version__}")
            return 0
        if command not in COMMANDS:
            raise ConfigError(_unknown(command))
        module = importlib.import_module(f"llmbench_locust.cli.{command}")
        status: int = module.main(rest)
        return status
    except BrokenPipeError:  # … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"llmbench: {error.filename or command}: {error.strerror or error}", file=sys.stderr)
        return 1
    except BenchError as error:
        print(f"llmbench: {error}", file=sys.stderr)
        return error.exit_code


def _usage() -> str:
    rows = "".join(f"  {name:<12}{text}\n" for name, text in COMMANDS.items())
    return (
        "usage: llmbench COMMAND [options]     llmbench COMMAND --help describes its options\n"
        f"       llmbench --version\n\n{rows}\n"
    )


def _unknown(command: str) -> str:
    allowed = [*COMMANDS, "--help", "--version"]
    hint = did_you_mean(command, allowed)
    hint = f" ({hint})" if hint else ""
    return f"{command}: no such command{hint}; allowed: {', '.join(allowed)}"
