"""Benchmark an LLM server: ``locust -f locustfiles/serve.py --headless --sim``."""

from llmbench_locust.locustfiles.serve import Arrivals, ServeUser

__all__ = ["Arrivals", "ServeUser"]
