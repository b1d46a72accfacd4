"""Chooses the experiment for a configuration."""

from __future__ import annotations

from llmbench_locust.experiments.single import conditions_of, single
from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.lifecycle import Experiment, Runs
from llmbench_locust.terminal import say


def experiment_for(config: RunConfig) -> Experiment:
    """The experiment for ``config``. Raises ConfigError."""
    conditions_of(config)
    if config.dry_run:
        return dry_run
    if config.capacity:
        from llmbench_locust.experiments.capacity import capacity

        return capacity
    if config.repeat > 1:
        from llmbench_locust.experiments.repeat import repeat

        return repeat
    return single


def dry_run(runs: Runs) -> None:
    from llmbench_locust.run.preview import preview

    say(preview(runs.environment, runs.config))
    runs.exit_status = 0
