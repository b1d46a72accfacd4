"""One run, its checks and its exit status."""

from __future__ import annotations

from llmbench_locust.options.config import RunConfig
from llmbench_locust.results.conditions import Condition, parse_condition
from llmbench_locust.run.lifecycle import Runs
from llmbench_locust.run.outcome import exit_status
from llmbench_locust.run.report import Report
from llmbench_locust.terminal import say


def single(runs: Runs) -> None:
    """One run with the command's own configuration; prints its table and writes its files."""
    report = runs.run(runs.config)
    runs.exit_status = status(runs, report, report.publish())


def status(runs: Runs, report: Report, written: bool) -> int | None:
    """Exit status of one run; prints its checks. ``written``: all its files were."""
    return exit_status(
        written=written,
        workers_lost=sum(worker["lost"] for worker in report.extended["workers"]),
        completed=report.summary.completed,
        checks_passed=checked(report),
        valid=not runs.config.strict or report.extended["validity"]["valid"],
    )


def conditions_of(config: RunConfig) -> list[Condition]:
    """Those of --check. Raises ConfigError."""
    return [parse_condition(text, "--check") for text in config.check]


def checked(report: Report) -> bool:
    """Print each --check with its value. Returns whether all hold; a missing figure fails."""
    passed = True
    for condition in conditions_of(report.config):
        value, holds = condition.value(report.document), condition.holds(report.document)
        shown = "n/a" if value is None else f"{value:.6g}"
        say(f"{'PASS' if holds else 'FAIL'}  {condition}  ({shown})")
        passed = passed and bool(holds)
    return passed
