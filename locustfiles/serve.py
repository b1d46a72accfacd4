"""Benchmark an LLM server: ``locust -f locustfiles/serve.py --headless --sim``; all flags:
``--help``.
"""

from locust import constant, task

from llmbench_locust import ArrivalShape, BackendUser


class ServeUser(BackendUser):
    """Speaks the protocol of ``--backend`` and sends each request when it is due."""

    wait_time = constant(0)

    @task
    def requests(self):
        self.serve()


class Arrivals(ArrivalShape):
    """Poisson, gamma, constant or ramped arrivals under a cap, as the flags say; ends when every
    request has its outcome.
    """
