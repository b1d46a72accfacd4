"""The benchmark of `vllm bench serve`: requests from a plan, sent when they are due.

``llmbench serve`` runs this file; so does ``locust -f locustfiles/serve.py`` in a checkout.
"""

from locust import constant, task

from llmbench_locust import ArrivalShape, BackendUser


class ServeUser(BackendUser):
    """Sends each request when it is due, with the protocol of ``--backend``."""

    wait_time = constant(0)

    @task
    def requests(self):  # type: ignore[no-untyped-def]
        self.serve()


class Arrivals(ArrivalShape):
    """Poisson, gamma, constant or ramp-up arrivals; ends after the last response."""
