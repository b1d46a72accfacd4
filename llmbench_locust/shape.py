"""`ArrivalShape`: the Locust load shape for runs with a plan. Its first tick conducts the runs.

The dispatcher decides which user sends when. `tick` blocks its greenlet until the experiment is
over, so the Locust test ends with the last run, not up to a second later.
"""

from __future__ import annotations

from locust import LoadTestShape
from locust.runners import Runner

from llmbench_locust.experiments.choose import experiment_for
from llmbench_locust.run.lifecycle import Runs


class ArrivalShape(LoadTestShape):
    """Poisson, gamma, constant and ramp-up arrivals, and the cap, as the flags say."""

    abstract = True  # Locust takes the subclass that a locustfile defines
    #: -u is the concurrency limit without --max-concurrency; -t limits the time of sending.
    use_common_options = True

    def experiment(self, runs: Runs) -> None:
        """What the Locust test runs: by default what the flags say. Override it for other runs."""
        experiment_for(runs.config)(runs)

    def tick(self) -> tuple[int, float] | None:
        runner: Runner = self.runner
        runner.environment.llmbench.conduct(self.experiment)
        return None
