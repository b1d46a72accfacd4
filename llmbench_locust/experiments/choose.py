"""Which experiment a configuration asks for."""

from __future__ import annotations

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.lifecycle import Experiment, Runs
from llmbench_locust.run.outcome import exit_status
from llmbench_locust.run.report import Report


def experiment_for(config: RunConfig) -> Experiment:
    """The experiment that the flags of ``config`` ask for."""
    if config.repeat > 1:
        from llmbench_locust.experiments.repeat import repeat

        return repeat
    return single


def single(runs: Runs) -> None:
    """One run with the command's own configuration; prints its table and writes its files."""
    report = runs.run(runs.config)
    runs.exit_status = status(runs, report, report.publish())


def status(runs: Runs, report: Report, written: bool) -> int | None:
    """Exit status of one run. ``written``: all its files were."""
    audit = report.audit or {}
    return exit_status(
        written=written,
        workers_lost=sum(worker["lost"] for worker in report.extended["workers"]),
        completed=report.summary.completed,
        checks_passed=True,
        valid=not (runs.config.strict and audit.get("client_limited")),
    )
