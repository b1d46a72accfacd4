"""`llmbench calibrate`: the benchmark's own users against servers with an exact schedule."""

from pathlib import Path

from locust import constant, events, task

from llmbench_locust import ArrivalShape, BackendUser
from llmbench_locust.experiments.calibrate import calibrate


@events.init_command_line_parser.add_listener
def flags(parser):  # type: ignore[no-untyped-def]
    parser.add_argument("--paced", default="", help="the compiled server")
    parser.add_argument("--core", type=int, help="where the server runs")
    parser.add_argument("--seconds", type=float, default=30.0, help="total duration")
    parser.add_argument("--outcome", help="file for the result")


class CalibrateUser(BackendUser):
    wait_time = constant(0)

    @task
    def requests(self):  # type: ignore[no-untyped-def]
        self.serve()


class Levels(ArrivalShape):
    """One run per level."""

    def experiment(self, runs):  # type: ignore[no-untyped-def]
        options = runs.environment.parsed_options
        binary = Path(options.paced) if options.paced else None
        calibrate(runs, binary, options.core, options.seconds, Path(options.outcome))
