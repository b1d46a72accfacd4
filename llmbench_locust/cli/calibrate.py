"""`llmbench calibrate`: what this client can measure on this machine, beside other clients."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from llmbench_locust.calibration import kept, server
from llmbench_locust.calibration.levels import RATE, STREAMS, TTFT_MS, Level, Measured
from llmbench_locust.calibration.peers import PEERS, Command, random_prompts
from llmbench_locust.command_parser import CommandParser, bounded
from llmbench_locust.errors import ConfigError, SetupError, last_line
from llmbench_locust.json_types import Json
from llmbench_locust.terminal import say, warn


def main(argv: list[str]) -> int:
    """Measure, print and keep the outcome. Raises ConfigError, SetupError."""
    flags = _parser().parse_args(argv)
    peers = {name: _command(name, flags.processes) for name in flags.against}
    with tempfile.TemporaryDirectory() as folder:
        binary = server.build(Path(folder)) if server.compiler() else None
        if binary is None:
            warn("no C compiler here: the simulator is the server, and its limit is lower")
        found = _measured(flags, binary, Path(folder))
        if found["limit_chunks_per_s"] is None and found["server_was_late"]:
            raise SetupError(
                "calibrate: the server itself was late, so this says nothing about the client; "
                "other programs are using this machine's cores"
            )
        say(sentence(found))
        try:
            say(f"Kept in {kept.keep(found)}; results of this machine quote it")
        except OSError as e:
            warn(f"warning: {kept.path()} cannot be written: {e.strerror}")
        for name, command in peers.items():
            level = Level(flags.streams, RATE)
            say(_beside(name, command, binary, level))
    return 0


def sentence(found: Json) -> str:
    """What was found, in words."""
    many = f"{found['processes']} process{'es' if found['processes'] > 1 else ''}"
    errors = (
        f"TTFT error {found['ttft_error_ms']:.2f} ms, P99 ITL error {found['p99_itl_error_ms']:.2f}"
        f" ms at {found['streams']:,} streams × {found['rate']:.4g}/s"
    )
    limit = found["limit_chunks_per_s"]
    if limit is None:
        return f"This machine, {many}: {errors}; no level had errors under 1 ms."
    end = f"error under 1 ms up to {limit:,.0f} chunks/s"
    if not found["limit_was_found"]:
        return f"This machine, {many}: {errors}; {end}, and time was over before the limit."
    if found["server_was_late"]:
        return f"This machine, {many}: {errors}; {end}, where the server itself became late."
    return (
        f"This machine, {many}: {errors}; {end}. For more, use more processes, each with a core of "
        f"its own (--processes {found['processes'] * 2})."
    )


def _measured(flags: argparse.Namespace, binary: Path | None, folder: Path) -> Json:
    """Run Locust with the levels; returns what it found."""
    outcome = folder / "outcome.json"
    locustfile = str(files("llmbench_locust.locustfiles") / "calibrate.py")
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless"]
    command += ["--loglevel", "WARNING", *random_prompts("http://127.0.0.1:1", 2, flags.streams)]
    command += ["--ready-check-timeout-sec", "0", "--server-metrics", "off"]
    command += ["--seconds", f"{flags.seconds:g}", "--outcome", str(outcome)]
    command += ["--paced", str(binary)] if binary else []
    command += ["--processes", str(flags.processes)] if flags.processes > 1 else []
    with subprocess.Popen(command) as running:
        try:
            status = running.wait()
        except KeyboardInterrupt:  # it had the signal, too, and ends in order
            running.wait()
            raise
    if not outcome.exists():
        raise SetupError(f"calibrate: the benchmark ended with status {status}")
    found: Json = json.loads(outcome.read_text())
    return found


def _beside(name: str, command: Command, binary: Path | None, level: Level) -> str:
    """A peer at the first level, in one line."""
    running = server.exact_server(binary, TTFT_MS, level.itl_ms)
    with tempfile.TemporaryDirectory() as folder:
        words = command(running.url, level.tokens, level.streams, Path(folder))
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            result = Path(folder) / "r.json"
            found = json.loads(result.read_text().splitlines()[-1]) if result.exists() else None
        except subprocess.TimeoutExpired:
            return f"{name}: no result after 300 s"
        finally:
            late = running.stop()
    if found is None:
        return f"{name}: exit status {done.returncode}: {last_line(done.stderr or done.stdout)}"
    failed = level.streams - found["completed"]
    m = Measured(level, failed, found["mean_ttft_ms"], found["p99_itl_ms"], late)
    return (
        f"{name}: TTFT error {m.ttft_error_ms:.2f} ms, P99 ITL error {m.itl_error_ms:.2f} ms at "
        f"{level.streams:,} streams × {level.rate:.4g}/s"
    )


def _command(name: str, threads: int) -> Command:
    where, make = PEERS[name]
    found = where()
    if found is None:
        raise ConfigError(f"--against: {name} is not installed here")
    return make(found, threads)


def _parser() -> CommandParser:
    parser = CommandParser(
        "llmbench calibrate",
        "Prove what this client can measure on this machine: its errors against a server with an "
        "exact schedule, at loads that climb. Keep the machine quiet meanwhile.",
        epilog="docs/calibrate.md explains the figures.",
    )
    parser.add_argument(
        "--processes",
        type=bounded(int, 1, 1000),
        default=1,
        metavar="N",
        help="worker processes (default 1)",
    )
    parser.add_argument(
        "--against",
        type=_names,
        default=(),
        metavar="NAME,…",
        help=f"other clients to run beside it: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--streams",
        type=bounded(int, 1, 1_000_000),
        default=STREAMS,
        metavar="N",
        help=f"most streams at once (default {STREAMS})",
    )
    parser.add_argument(
        "--seconds",
        type=bounded(int, 1, 86400),
        default=30,
        metavar="S",
        help="for all levels (default 30)",
    )
    return parser


def _names(text: str) -> Sequence[str]:
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name}: unknown; allowed: {', '.join(PEERS)}")
    return names
