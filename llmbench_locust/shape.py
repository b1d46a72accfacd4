"""`ArrivalShape`: Locust's load shape of an open-loop benchmark. It sizes the pool of users and
ends the run.

Who sends when is the dispatcher's; the shape prepares the run in its first tick (in its own
greenlet, so that the web page stays alive) and returns None only when every request has its
outcome.
"""

from __future__ import annotations

from typing import Any

from locust import LoadTestShape

from llmbench_locust.plugin import plugin_of


class ArrivalShape(LoadTestShape):
    """Poisson, gamma, constant and ramp-up arrivals, and the cap, as the flags say."""

    use_common_options = (
        True  # -u is the cap when --max-concurrency is absent, -t bounds the time of sending
    )

    def tick(self) -> tuple[int, float] | None:
        runner: Any = self.runner
        assert runner is not None
        return plugin_of(runner.environment).tick()
