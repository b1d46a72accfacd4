"""`llmbench ab`: runs two servers or settings in the order ABBA and compares them.

Drift of the machine affects both sides alike. The i-th run of each side has the same seed, so that
the runs are paired. Each run is a separate `llmbench serve`.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from llmbench_locust import child
from llmbench_locust.cli.command_line import cold_cache
from llmbench_locust.cli.compare import add_arguments, checked, judge
from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError, SetupError, last_line
from llmbench_locust.options.dotted import overridden
from llmbench_locust.options.values import flag_of, words_in
from llmbench_locust.results.files import check_directory

SPARE = 2  # extra pairs per requested pair, to replace disturbed pairs
LEAST = 2  # pairs needed for a comparison
_OURS = ("--result-filename", "--result-dir", "--append-result", "--repeat", "--seed")


def main(argv: list[str]) -> int:
    """Exit status as `llmbench compare`; 130 and 143 when interrupted. Raises ConfigError, and
    SetupError when a run fails.
    """
    flags, shared = _parser().parse_known_args(_joined(argv))
    checked(flags)
    if "--" in shared:
        shared.remove("--")
    words = [*shared, *words_in("--a", flags.a), *words_in("--b", flags.b)]
    if taken := next((flag for flag in map(flag_of, words) if flag in _OURS), None):
        use = "give it outside --a and --b" if taken in ("--repeat", "--seed") else "use --dir"
        raise ConfigError(f"{taken}: cannot be set for the runs of an A/B comparison; {use}")
    for name in ("dir", "json", "markdown", "html"):
        if path := getattr(flags, name):
            check_directory(f"--{name}", path if name == "dir" else path.parent)
    with child.raising_on_sigterm():
        return _compared(flags, shared)


def _joined(argv: list[str]) -> list[str]:
    """``--a --sim`` as ``--a=--sim``: argparse takes a word with dashes and no space for a flag."""
    words = list(argv)
    for at in reversed(range(len(words) - 1)):
        if words[at] in ("--a", "--b") and words[at + 1] not in ("--a", "--b"):
            words[at : at + 2] = [f"{words[at]}={words[at + 1]}"]
    return words


def _compared(flags: argparse.Namespace, shared: list[str]) -> int:
    """Run, then compare the pairs that were not disturbed; after Ctrl-C, the complete pairs."""
    from llmbench_locust.compare.reading import read_side

    disturbed: dict[int, str] = {}  # number of each complete pair → why, or ""
    interrupted = False
    try:
        _run_pairs(flags, shared, disturbed)
    except KeyboardInterrupt:
        interrupted = True
        words = f"interrupted: {len(disturbed)} of {flags.repeat} pairs are complete in {flags.dir}"
        print(f"llmbench: {words}", file=sys.stderr)
    kept = [number for number, why in disturbed.items() if not why]
    if flags.force or len(kept) < LEAST:
        kept = [*disturbed]
    for number in sorted({*disturbed} - {*kept}):
        print(f"- pair {number + 1} left out: the client was the limit: {disturbed[number]}")
    if len(kept) < LEAST and interrupted:
        return 128 + signal.SIGINT
    base, new = (read_side([_path(flags, side, number) for number in kept]) for side in "ab")
    status = judge(flags, [("", base, new)])
    return 128 + signal.SIGINT if interrupted else status


def _run_pairs(flags: argparse.Namespace, shared: list[str], disturbed: dict[int, str]) -> None:
    """ABBA, BAAB, …. A pair in which the client was the limit is run again, because it says nothing
    about the servers. `SPARE` limits the extra pairs: what happens every time is not noise.
    """
    from llmbench_locust.statistics.comparison import abba

    own = {"a": shlex.split(flags.a), "b": shlex.split(flags.b)}
    order, spare = abba(flags.repeat), 0 if flags.force else SPARE * flags.repeat
    for number in range(flags.repeat):
        seed, why = (flags.seed + number) % 2**32, ""
        while True:
            for side in order[2 * number : 2 * number + 2]:
                title = f"{side.upper()}, run {number + 1} of {flags.repeat}, seed {seed}"
                again = f", again, as the client was the limit: {why}" if why else ""
                print(title + again, flush=True)
                words = overridden(shared, own[side])
                words += ["--seed", str(seed), *cold_cache(words)]
                _serve(title, words, _path(flags, side, number))
            why = _client_limit([_path(flags, side, number) for side in "ab"])
            if not why or not spare:
                break
            spare -= 1
        disturbed[number] = why


def _path(flags: argparse.Namespace, side: str, number: int) -> Path:
    path: Path = flags.dir / f"{side}.{number}.json"
    return path


def _client_limit(paths: list[Path]) -> str:
    """Why the client was the limit, from the first run in which it was; "" if in none."""
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
    parser.add_argument("--a", required=True, metavar="FLAGS", help="flags of the base side only")
    parser.add_argument("--b", required=True, metavar="FLAGS", help="flags of the new side only")
    parser.add_count("--repeat", 5, (2, 1000), "runs per side, at least 2")
    parser.add_count("--seed", 0, (0, 2**32 - 1), "seed of the first pair")
    parser.add_argument(
        "--dir", type=Path, default=Path("ab"), help="directory of the result files (default ab)"
    )
    add_arguments(parser)
    return parser


def _serve(title: str, argv: list[str], path: Path) -> None:
    """One run in a separate process. Raises SetupError with its last line if it fails. If this
    command is interrupted, it first lets the run shut down.
    """
    path.unlink(missing_ok=True)
    own = ["--save-result", "--save-detailed", "--disable-tqdm", "--result-dir", str(path.parent)]
    serve = [sys.executable, "-m", "llmbench_locust", "serve"]
    done = child.run([*serve, *argv, *own, "--result-filename", path.name])
    if not path.exists():
        words = last_line(done.stderr or done.stdout)
        if done.returncode == ConfigError.exit_code:
            raise ConfigError(words)
        raise SetupError(f"{title}: {words}")
