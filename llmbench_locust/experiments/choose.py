"""Which experiment a configuration asks for."""

from __future__ import annotations

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.lifecycle import Experiment, Runs


def experiment_for(config: RunConfig) -> Experiment:
    """The experiment that the flags of ``config`` ask for."""
    return single


def single(runs: Runs) -> None:
    """One run with the command's own configuration; prints its table and writes its files."""
    runs.run(runs.config).publish()
