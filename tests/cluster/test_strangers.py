"""Workers that cannot take part are refused by name, at once, and cost the run nothing."""

import contextlib
import os
import signal

import pytest

from tests.commands import ROOT, SMALL, cluster, finish, free_port, result, start, wait_for

pytestmark = pytest.mark.cluster

PLAIN = """
from locust import User, constant, task

class ServeUser(User):
    wait_time = constant(1)

    @task
    def nothing(self):
        pass
"""
OLD = """
import llmbench_locust._version
llmbench_locust._version.__version__ = "0.0.1"
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser
"""


def test_a_worker_without_the_package_and_one_of_another_version(tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "old.py").write_text(OLD)
    port = free_port()
    processes = [
        start("--worker", "--master-port", port, headless=False, locustfile=path)
        for path in (tmp_path / "plain.py", tmp_path / "old.py", ROOT / "locustfiles" / "serve.py")
    ]
    master = start(
        *("--sim", *SMALL, "--num-prompts", 30, "--save-result", "--result-dir", tmp_path / "out"),
        *("--master", "--master-bind-port", port, "--expect-workers", 3),
    )
    try:
        output = finish(master)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert "does not have llmbench-locust, or has ended: it takes no part" in output
    assert "has llmbench-locust 0.0.1, the master has" in output
    found = result(tmp_path / "out")
    assert (found["completed"], found["failed"]) == (30, 0)
    assert len(found["llmbench"]["workers"]) == 1


def test_one_of_another_version_that_comes_late(tmp_path):
    (tmp_path / "old.py").write_text(OLD)
    flags = ("--sim", *SMALL, "--request-rate", 4, "--num-prompts", 600, "--journal")
    results = ("--save-result", "--result-dir", tmp_path)
    with cluster(2, *flags, *results) as (master, crew, port):
        wait_for(lambda: [j for j in tmp_path.glob("*.journal") if j.stat().st_size])
        os.killpg(crew[0].pid, signal.SIGKILL)  # so that another one may join
        path = tmp_path / "old.py"
        old = start("--worker", "--master-port", port, headless=False, locustfile=path)
        try:
            said = next(line for line in master.stdout if "0.0.1" in line)
        finally:
            os.killpg(old.pid, signal.SIGKILL)
            old.communicate()
        master.send_signal(signal.SIGINT)
        finish(master)
    assert "has llmbench-locust 0.0.1, the master has" in said
    assert len(result(tmp_path)["llmbench"]["workers"]) == 2
