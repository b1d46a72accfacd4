"""Which experiment a configuration asks for."""

from __future__ import annotations

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.lifecycle import Experiment, Runs
from llmbench_locust.run.outcome import exit_status


def experiment_for(config: RunConfig) -> Experiment:
    """The experiment that the flags of ``config`` ask for."""
    return single


def single(runs: Runs) -> None:
    """One run with the command's own configuration; prints its table and writes its files."""
    report = runs.run(runs.config)
    written = report.publish()
    audit = report.audit or {}
    runs.exit_status = exit_status(
        written=written,
        workers_lost=sum(worker["lost"] for worker in report.extended["workers"]),
        completed=report.summary.completed,
        checks_passed=True,
        valid=not (runs.config.strict and audit.get("client_limited")),
    )
