"""A locustfile for tests of many runs: one process carries out command line after command line as
they come over a socket, each as `serve.py` would. To start Locust takes longer than most runs.
"""

import contextlib
import io
import json
import os
import socket

from locust.argument_parser import get_parser

from llmbench_locust import ArrivalShape
from llmbench_locust.experiments.choose import experiment_for
from llmbench_locust.locustfiles.serve import ServeUser  # noqa: F401
from llmbench_locust.options.config import build_config


class Cases(ArrivalShape):
    def experiment(self, runs):
        with socket.create_connection(("127.0.0.1", int(os.environ["CASES_PORT"]))) as asked:
            for line in asked.makefile():
                runs.config = build_config(get_parser().parse_args(json.loads(line)))
                runs.exit_status = None
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    experiment_for(runs.config)(runs)
                answer = {"status": runs.exit_status, "printed": printed.getvalue()}
                asked.sendall(json.dumps(answer).encode() + b"\n")
