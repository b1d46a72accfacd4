"""`llmbench sweep serve | serve_workload`: a grid of runs, in the directories of `vllm bench
sweep`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import datetime
from pathlib import Path

from llmbench_locust.child import ended_in_order
from llmbench_locust.cli.command_line import cold_cache
from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError
from llmbench_locust.experiments import grid
from llmbench_locust.experiments.sweep import Plan, sweep

VERBS = ("serve", "serve_workload")


def main(argv: list[str]) -> int:
    """0: all runs have a result; 1: some failed. Raises ConfigError, SetupError."""
    verb, *rest = argv or ["--help"]
    if verb in ("-h", "--help"):
        print(f"usage: llmbench sweep {{{','.join(VERBS)}}} [options] [-- flags of llmbench serve]")
        return 0
    if verb not in VERBS:
        raise ConfigError(f"sweep {verb}: no such command; allowed: {', '.join(VERBS)}")
    own, flags = (
        (rest[: rest.index("--")], rest[rest.index("--") + 1 :]) if "--" in rest else (rest, [])
    )

    try:
        with ended_in_order():
            return 1 if sweep(_plan(verb, own, flags)) else 0
    except KeyboardInterrupt:
        print("Interrupted; --resume goes on.", file=sys.stderr)
        return 130


def _plan(verb: str, argv: list[str], bench_flags: list[str]) -> Plan:
    flags = _parser(verb).parse_args(argv)
    if flags.bench_cmd and bench_flags:
        raise ConfigError(
            "--bench-cmd: not with flags behind --, which are those of llmbench serve"
        )
    bench = shlex.split(flags.bench_cmd or "")
    own = not bench
    if own:
        cold = [] if flags.after_bench_cmd else cold_cache(bench_flags)
        bench = [sys.executable, "-m", "llmbench_locust", "serve", *bench_flags, *cold]
    name = flags.experiment_name or datetime.now().strftime("%Y%m%d_%H%M%S")
    directory = Path(flags.output_dir) / name
    if flags.resume and not directory.is_dir():
        raise ConfigError(f"--resume: directory not found: {directory}; name it with -o and -e")
    if not flags.resume and directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"-e: {directory} exists already; --resume goes on with it")
    for flag, value in (
        ("--num-runs", flags.num_runs),
        ("--workload-iters", flags.workload_iters - 1),
    ):
        if value < 1:
            raise ConfigError(f"{flag}: too small; {1 if flag == '--num-runs' else 2} or more")
    cells = grid.cells(
        grid.combinations(flags.serve_params, "--serve-params"),
        grid.combinations(flags.bench_params, "--bench-params"),
        grid.linked(flags.link_vars),
    )
    return Plan(
        directory=directory,
        serve=shlex.split(flags.serve_cmd or ""),
        bench=bench,
        resets=not own,
        after=shlex.split(flags.after_bench_cmd or ""),
        cells=list(cells),
        base_url=_base_url(bench),
        runs=flags.num_runs,
        warmup_prompts=flags.warmup_num_prompts,
        ready_timeout_s=flags.server_ready_timeout,
        workload=(flags.workload_var, flags.workload_iters) if verb == "serve_workload" else None,
        show_stdout=flags.show_stdout,
        dry_run=flags.dry_run,
        continue_on_error=flags.continue_on_error,
    )


def _base_url(words: list[str]) -> str:
    """The server of a benchmark's command."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag, default in (("--base-url", None), ("--host", "127.0.0.1"), ("--port", "8000")):
        known.add_argument(flag, flag.replace("-url", "_url"), default=default)
    found, _ = known.parse_known_args(words)
    return (found.base_url or f"http://{found.host}:{found.port}").rstrip("/")


def _parser(verb: str) -> CommandParser:
    parser = CommandParser(
        f"llmbench sweep {verb}",
        "Run a benchmark for each combination of parameters. The directories are those of "
        "vllm bench sweep, whose plot and plot_pareto read them.",
    )
    text: tuple[tuple[str, str | None, str], ...] = (
        ("--serve-cmd", None, "starts the server, once for each combination of --serve-params"),
        ("--bench-cmd", None, "the benchmark; llmbench serve with the flags behind -- by default"),
        ("--after-bench-cmd", None, "run after each benchmark, instead of resetting caches"),
        ("--serve-params", None, "JSON or YAML file of combinations, or inline: key=[1,2]"),
        ("--bench-params", None, "the same for the benchmark: 'request_rate=[1,2,4]'"),
        ("--link-vars", "", "max_num_seqs=max_concurrency,…: only where both are equal"),
    )
    for flag, default, what in text:
        parser.add_argument(flag, default=default, metavar="TEXT", help=what)
    parser.add_argument(
        "-o", "--output-dir", default="results", metavar="DIR", help="default results"
    )
    parser.add_argument("-e", "--experiment-name", metavar="NAME", help="the time by default")
    for flag, number, what in (
        ("--num-runs", 3, "runs of each combination"),
        ("--warmup-num-prompts", 0, "prompts of an unmeasured run before each combination"),
        ("--server-ready-timeout", 300, "seconds to wait for GET /health"),
        ("--workload-iters", 10, "values of the workload variable (serve_workload)"),
    ):
        parser.add_argument(flag, type=int, default=number, metavar="N", help=f"{what} ({number})")
    parser.add_argument(
        "--workload-var",
        default="request_rate",
        choices=("request_rate", "max_concurrency"),
        help="what serve_workload varies (request_rate)",
    )
    for flag, what in (
        ("--show-stdout", "show the output of the commands"),
        ("--continue-on-error", "a failure costs its run or its cell only"),
        ("--dry-run", "print the commands"),
        ("--resume", "run only what has no result yet"),
    ):
        parser.add_argument(flag, action="store_true", help=what)
    return parser
