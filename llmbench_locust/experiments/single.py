"""One run, its checks and its exit status; docs/exit-status.md has the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.lifecycle import Runs
from llmbench_locust.terminal import say

if TYPE_CHECKING:
    from llmbench_locust.results.conditions import Condition
    from llmbench_locust.run.report import Report

OK, FAILED, BAD_INPUT, CHECK_FAILED, NOT_VALID = range(5)


def exit_status(
    *, written: bool, workers_lost: int, completed: int, checks_passed: bool, valid: bool
) -> int | None:
    """Exit status after a completed run; None leaves it to Locust (0, or 1 for failures).

    ``written``: all files were. ``completed``: successful requests. ``checks_passed``: every
    ``--check`` held. ``valid``: the result is valid, or ``--strict`` was not given.
    """
    if not written or workers_lost or not completed:
        return FAILED
    if not checks_passed:
        return CHECK_FAILED
    return None if valid else NOT_VALID


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
    """The conditions of --check. Raises ConfigError."""
    if not config.check:
        return []
    from llmbench_locust.results.conditions import parse_condition

    return [parse_condition(text, "--check") for text in config.check]


def checked(report: Report) -> bool:
    """Print each --check with its value. Returns whether all hold; missing figures fail."""
    passed = True
    for condition in conditions_of(report.config):
        value, holds = condition.value(report.document), condition.holds(report.document)
        shown = "n/a" if value is None else f"{value:.6g}"
        say(f"{'PASS' if holds else 'FAIL'}  {condition}  ({shown})")
        passed = passed and bool(holds)
    return passed
