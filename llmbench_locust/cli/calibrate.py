"""`llmbench calibrate`: what this client can measure on this machine, beside other clients."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from llmbench_locust.calibration import kept, server
from llmbench_locust.calibration.levels import RATE, STREAMS, TTFT_MS, Level, Measured
from llmbench_locust.calibration.peers import PEERS, Command, random_prompts
from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import SetupError, last_line
from llmbench_locust.json_types import Json
from llmbench_locust.terminal import say, warn


def main(argv: list[str]) -> int:
    """Measure, print and store the outcome. Raises SetupError."""
    flags = _parser().parse_args(argv)
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
        for name in flags.against:
            where, make = PEERS[name]
            if found_at := where():
                command, level = make(found_at, flags.processes), Level(flags.streams, RATE)
                say(_beside(name, command, binary, level))
            else:
                say(f"{name}: not installed here")
    return 0


def sentence(found: Json) -> str:
    many = f"{found['processes']} process{'es' if found['processes'] > 1 else ''}"
    errors = (
        f"TTFT error {found['ttft_error_ms']:z.2f} ms, P99 ITL error "
        f"{found['p99_itl_error_ms']:z.2f} ms at {found['streams']:,} streams × "
        f"{found['rate']:.4g}/s"
    )
    limit = found["limit_chunks_per_s"]
    if limit is None:
        return f"This machine, {many}: {errors}; no level had errors under 1 ms."
    end = f"error under 1 ms up to {limit:,.0f} chunks/s"
    if not found["limit_was_found"]:
        return f"This machine, {many}: {errors}; {end}; time ran out before the limit was found."
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
    core, others = server.cores()
    command += ["--core", str(core)] if core is not None else []
    with subprocess.Popen(command, preexec_fn=_confined_to(others)) as running:
        try:
            status = running.wait()
        except KeyboardInterrupt:  # it got the signal, too, and is shutting down
            running.wait()
            raise
    if not outcome.exists():
        raise SetupError(f"calibrate: the benchmark ended with status {status}")
    found: Json = json.loads(outcome.read_text())
    return found


def _confined_to(cores: set[int]) -> Callable[[], None]:
    """Returns a function that keeps a new process off the server's core."""
    return lambda: os.sched_setaffinity(0, cores) if cores else None


def _beside(name: str, command: Command, binary: Path | None, level: Level) -> str:
    """The result of another client at the first level, in one line."""
    core, others = server.cores()
    running = server.exact_server(binary, TTFT_MS, level.itl_ms, core)
    with tempfile.TemporaryDirectory() as folder:
        words = command(running.url, level.tokens, level.streams, Path(folder))
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                preexec_fn=_confined_to(others),
            )
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
        f"{name}: TTFT error {m.ttft_error_ms:z.2f} ms, P99 ITL error {m.itl_error_ms:z.2f} ms at "
        f"{level.streams:,} streams × {level.rate:.4g}/s"
    )


def _parser() -> CommandParser:
    parser = CommandParser(
        "llmbench calibrate",
        "Find out what this client can measure on this machine: its errors against a server with "
        "an exact schedule, at rising load. Keep the machine quiet meanwhile.",
        epilog="docs/calibrate.md explains the figures.",
    )
    parser.add_count("--processes", 1, (1, 1000), "worker processes")
    parser.add_argument(
        "--against",
        type=_names,
        default=(),
        metavar="NAME,…",
        help=f"other clients to run beside it: {', '.join(PEERS)}",
    )
    parser.add_count("--streams", STREAMS, (1, 1_000_000), "maximum number of concurrent streams")
    parser.add_count("--seconds", 30, (1, 86400), "duration of all levels together")
    return parser


def _names(text: str) -> Sequence[str]:
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name}: unknown; allowed: {', '.join(PEERS)}")
    return names
