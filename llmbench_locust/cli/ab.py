"""`llmbench ab`: runs of two servers or settings in the order ABBA, and their comparison.

Drift of the machine hits both sides alike. The i-th run of each side has the same seed, so that the
runs are paired; each is an `llmbench serve` of its own.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from llmbench_locust.cli.command_line import cold_cache
from llmbench_locust.cli.compare import add_arguments, checked, judge
from llmbench_locust.command_parser import CommandParser, bounded
from llmbench_locust.errors import ConfigError, SetupError

TRIES = 3  # of a pair of runs whose client was the limit
_OURS = ("--result-filename", "--result-dir", "--append-result")


def main(argv: list[str]) -> int:
    """Exit status as `llmbench compare`. Raises ConfigError, and SetupError when a run fails."""
    flags, shared = _parser().parse_known_args(argv)
    checked(flags)
    if "--" in shared:
        shared.remove("--")
    words = [*shared, *shlex.split(flags.a), *shlex.split(flags.b)]
    taken = next((word for word in words if word.split("=")[0].replace("_", "-") in _OURS), None)
    if taken is not None:
        raise ConfigError(f"{taken}: not in an A/B comparison; use --dir")

    from llmbench_locust.compare.reading import read_side

    _runs_of_both(flags, shared)
    base, new = (
        read_side([flags.dir / f"{side}.{i}.json" for i in range(flags.repeat)]) for side in "ab"
    )
    return judge(flags, [("", base, new)])


def _runs_of_both(flags: argparse.Namespace, shared: list[str]) -> None:
    """ABBA, BAAB, …. A pair whose client was the limit is run again: noise of this machine says
    nothing of the servers, and what is wrong each time is no accident.
    """
    from llmbench_locust.statistics.comparison import abba

    own = {"a": shlex.split(flags.a), "b": shlex.split(flags.b)}
    order = abba(flags.repeat)
    for number in range(flags.repeat):
        seed, why = flags.seed + number, ""
        for _ in range(TRIES):
            paths = []
            for side in order[2 * number : 2 * number + 2]:
                again = f", again: {why}" if why else ""
                print(
                    f"{side.upper()}, run {number + 1} of {flags.repeat}, seed {seed}{again}",
                    flush=True,
                )
                paths.append(flags.dir / f"{side}.{number}.json")
                words = [*shared, *own[side]]
                _serve([*words, "--seed", str(seed), *cold_cache(words)], paths[-1])
            why = _client_limit(paths)
            if not why:
                break


def _client_limit(paths: list[Path]) -> str:
    """Of the first run that says so; "" where none does."""
    from llmbench_locust.compare.comparable import client_limit
    from llmbench_locust.compare.reading import read_side

    return next((found for run in read_side(paths) if (found := client_limit(run))), "")


def _parser() -> CommandParser:
    parser = CommandParser(
        "llmbench ab",
        "Run A and B in turn (ABBA) and compare them. Flags of llmbench serve that are not listed "
        "here go to both sides.",
        epilog='llmbench ab --a "--base-url http://old:8000" --b "--base-url http://new:8000" '
        "--num-prompts 500 --request-rate 8. Exit status as llmbench compare.",
    )
    parser.add_argument("--a", required=True, metavar="FLAGS", help="of the base side only")
    parser.add_argument("--b", required=True, metavar="FLAGS", help="of the new side only")
    parser.add_argument(
        "--repeat",
        type=bounded(int, 2, 1000),
        default=5,
        metavar="N",
        help="runs a side, at least 2 (default 5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first pair (default 0)")
    parser.add_argument(
        "--dir", type=Path, default=Path("ab"), help="of the result files (default ab)"
    )
    add_arguments(parser)
    return parser


def _serve(argv: list[str], path: Path) -> None:
    """One run in a process of its own. Raises SetupError with its own words when it fails."""
    path.unlink(missing_ok=True)
    own = ["--save-result", "--save-detailed", "--disable-tqdm", "--result-dir", str(path.parent)]
    command = [sys.executable, "-m", "llmbench_locust", "serve", *argv, *own]
    done = subprocess.run(
        [*command, "--result-filename", path.name], capture_output=True, text=True, check=False
    )
    if not path.exists():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        kind = ConfigError if done.returncode == ConfigError.exit_code else SetupError
        raise kind(last[0].removeprefix("llmbench: ").removeprefix("error: "))
