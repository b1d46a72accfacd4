"""`llmbench sweep serve | serve_workload`: a grid of runs, in the directories of `vllm bench
sweep`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from llmbench_locust import child
from llmbench_locust.cli.command_line import check_value, cold_cache
from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError, last_line
from llmbench_locust.experiments import grid
from llmbench_locust.experiments.sweep import Plan, sweep
from llmbench_locust.options.checks import base_url
from llmbench_locust.options.values import integer, words_in, words_of
from llmbench_locust.results.files import check_directory

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
        with child.raising_on_sigterm():
            return 1 if sweep(_plan(verb, own, flags)) else 0
    except KeyboardInterrupt:
        print("Interrupted; --resume continues.", file=sys.stderr)
        return 130


def _plan(verb: str, argv: list[str], bench_flags: list[str]) -> Plan:
    flags = _parser(verb).parse_args(argv)
    if flags.bench_cmd and bench_flags:
        raise ConfigError(
            "--bench-cmd: cannot be used with flags after --, which are for llmbench serve"
        )
    bench = words_in("--bench-cmd", flags.bench_cmd)
    own = not bench
    if own:
        cold = [] if flags.after_bench_cmd else cold_cache(bench_flags)
        bench = [sys.executable, "-m", "llmbench_locust", "serve", *bench_flags, *cold]
    name = flags.experiment_name or datetime.now().strftime("%Y%m%d_%H%M%S")
    directory = Path(flags.output_dir) / name
    if flags.resume and not directory.is_dir():
        raise ConfigError(f"--resume: directory not found: {directory}; name it with -o and -e")
    if not flags.resume and directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            f"-e: {directory} exists already; use another name, or --resume to continue it"
        )
    cells = list(
        grid.cells(
            grid.combinations(flags.serve_params, "--serve-params"),
            grid.combinations(flags.bench_params, "--bench-params"),
            grid.linked(flags.link_vars),
        )
    )
    if own:
        _check(bench, [params for _, fits in cells for params in fits])
    if not flags.dry_run:
        check_directory("--output-dir", directory)
    return Plan(
        directory=directory,
        serve=words_in("--serve-cmd", flags.serve_cmd),
        bench=bench,
        resets=not own,
        after=words_in("--after-bench-cmd", flags.after_bench_cmd),
        cells=cells,
        base_url=_base_url(bench),
        runs=flags.num_runs,
        warmup_prompts=flags.warmup_num_prompts,
        ready_timeout_s=flags.server_ready_timeout,
        workload=(flags.workload_var, flags.workload_iters) if verb == "serve_workload" else None,
        show_stdout=flags.show_stdout,
        dry_run=flags.dry_run,
        continue_on_error=flags.continue_on_error,
    )


def _check(bench: list[str], every: list[grid.Params]) -> None:
    """Raises ConfigError for parameters that llmbench serve does not accept, before anything runs.
    Flags that are not ours may be Locust's, which a dry run checks.
    """
    for params in every:
        try:
            ours = [
                check_value(key, words_of(f"--{key}", value)[1:])
                for key, value in params.items()
                if key != grid.NAME and "." not in key
            ]
        except ConfigError as e:
            raise ConfigError(f"--bench-params: {e}") from None
        if not all(ours) or any(v is False or isinstance(v, list) for v in params.values()):
            done = child.run([*grid.command(bench, params), "--dry-run"])
            if done.returncode == ConfigError.exit_code:
                raise ConfigError(f"--bench-params: {last_line(done.stderr)}")


def _base_url(words: list[str]) -> str:
    """The server URL in a benchmark's command."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--base-url", "--base_url")
    known.add_argument("--host")
    known.add_argument("--port", default="8000")
    found, _ = known.parse_known_args(words)
    return base_url(found.base_url, found.host, integer("--port", found.port))


def _parser(verb: str) -> CommandParser:
    parser = CommandParser(
        f"llmbench sweep {verb}",
        "Run a benchmark for each combination of parameters. The directories are those of "
        "vllm bench sweep, whose plot and plot_pareto read them.",
    )
    text: tuple[tuple[str, str | None, str], ...] = (
        ("--serve-cmd", None, "starts the server, once for each combination of --serve-params"),
        ("--bench-cmd", None, "benchmark command; default: llmbench serve with the flags after --"),
        ("--after-bench-cmd", None, "runs after each benchmark, instead of resetting caches"),
        ("--serve-params", None, "JSON or YAML file of combinations, or inline: key=[1,2]"),
        ("--bench-params", None, "the same for the benchmark: 'request_rate=[1,2,4]'"),
        ("--link-vars", "", "max_num_seqs=max_concurrency,…: run only cells with equal values"),
    )
    for flag, default, what in text:
        parser.add_argument(flag, default=default, metavar="TEXT", help=what)
    parser.add_argument(
        "-o", "--output-dir", default="results", metavar="DIR", help="directory of all experiments"
    )
    parser.add_argument(
        "-e", "--experiment-name", metavar="NAME", help="its subdirectory (default: the time)"
    )
    for flag, number, least, what in (
        ("--num-runs", 3, 1, "runs of each combination"),
        ("--warmup-num-prompts", 0, 0, "prompts of a warm-up run before each combination"),
        ("--server-ready-timeout", 300, 0, "seconds to wait for GET /health"),
        ("--workload-iters", 10, 2, "values of --workload-var"),
    ):
        parser.add_count(flag, number, (least, 10**9), what)
    parser.add_argument(
        "--workload-var",
        default="request_rate",
        choices=("request_rate", "max_concurrency"),
        help="what serve_workload varies",
    )
    for flag, what in (
        ("--show-stdout", "show the output of the commands"),
        ("--continue-on-error", "go on with the next run or cell after a failure"),
        ("--dry-run", "print the commands"),
        ("--resume", "run only what has no result yet"),
    ):
        parser.add_argument(flag, action="store_true", help=what)
    return parser
