"""Several runs in one Locust test: each with its own configuration and report, on the same
workers.
"""

import json
import signal
import time

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, finish, locust, start, wait_for

LOCUSTFILE = """
from dataclasses import replace

from locust import constant, task

from llmbench_locust import ArrivalShape, BackendUser
from llmbench_locust.errors import Interrupted


class Sender(BackendUser):
    wait_time = constant(0)

    @task
    def requests(self):
        self.serve()


class Runs(ArrivalShape):
    def experiment(self, runs):
        """

THREE_RATES = """
        for rate in (50.0, 100.0, 200.0):
            runs.run(replace(runs.config, request_rate=rate)).publish()
            print("idle:", runs.wait_until_idle())
"""

ENDS_EARLY = """
        slow = replace(runs.config, request_rate=20.0)
        runs.run(slow, watch=lambda run: run.completed >= 10).publish()
        print("idle:", runs.wait_until_idle())
        runs.run(replace(runs.config, request_rate=200.0)).publish()
        runs.exit_status = 0
"""

#: The web page keeps the reports of the last runs.
KEPT = """
        import gc, os
        from llmbench_locust.run.benchmark import Benchmark
        reports, pipes = [], []
        for _ in range(4):
            report = runs.run(replace(runs.config, request_rate=100.0))
            report.publish()
            reports.append(report)
            gc.collect()
            files = [os.readlink(each.path) for each in os.scandir("/proc/self/fd")]
            pipes.append(sum(file.startswith("pipe:") for file in files))
        print("runs:", sum(isinstance(each, Benchmark) for each in gc.get_objects()))
        print("pipes:", pipes[-1] - pipes[1])
"""

UNTIL_STOPPED = """
        try:
            for rate in (100.0, 10.0, 5.0):
                runs.run(replace(runs.config, request_rate=rate)).publish()
        except Interrupted:
            print("answered with what there is")
"""


READY_CHECK = 1  # request of each run


@pytest.fixture
def sim():
    with launch(["--clock", "fixed", "--ttft-ms", "50", "--itl-ms", "10"]) as process:
        yield process.url


def _received(sim):
    return requests.get(f"{sim}/sim/stats?requests=0", timeout=60).json()["received"]


def locustfile(directory, experiment):
    path = directory / "runs.py"
    path.write_text(LOCUSTFILE + experiment.strip() + "\n")
    return path


def saving(sim, directory, n):
    flags = ("--base-url", sim, "--num-prompts", n, *SMALL, "--disable-tqdm", "--save-result")
    return (*flags, "--result-dir", directory / "out")


def results(directory):
    """All result files by their request rate."""
    found = [json.loads(path.read_text()) for path in (directory / "out").glob("*.json")]
    return {result["request_rate"]: result for result in found}


@pytest.mark.parametrize("workers", [1, 2])
def test_three_rates_one_after_another(workers, sim, tmp_path):
    path = locustfile(tmp_path, THREE_RATES)
    crew = ("--processes", workers) if workers > 1 else ()
    done = locust(*saving(sim, tmp_path, 40), *crew, locustfile=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("idle: True") == 3
    found = results(tmp_path)
    assert sorted(found) == [50.0, 100.0, 200.0]
    for rate, result in found.items():
        assert (result["completed"], result["failed"]) == (40, 0)
        assert result["duration"] > 39 / rate * 0.5
        assert len(result["llmbench"]["workers"]) == workers
    ids = [{worker["id"] for worker in r["llmbench"]["workers"]} for r in found.values()]
    assert ids[0] == ids[1] == ids[2]
    # Nothing is sent twice.
    assert _received(sim) == 3 * (READY_CHECK + 40)


def test_a_report_that_is_kept_keeps_nothing_else_of_its_run(sim, tmp_path):
    path = locustfile(tmp_path, KEPT)
    done = locust(*saving(sim, tmp_path, 20), "--server-metrics", f"{sim}/metrics", locustfile=path)
    assert done.returncode == 0, done.stderr
    assert "runs: 1\n" in done.stdout
    assert "pipes: 0\n" in done.stdout


def test_a_run_that_is_ended_early_leaves_the_next_one_alone(sim, tmp_path):
    path = locustfile(tmp_path, ENDS_EARLY)
    done = locust(*saving(sim, tmp_path, 100), locustfile=path)
    assert done.returncode == 0, done.stderr
    assert "idle: True" in done.stdout
    early, whole = results(tmp_path)[20.0], results(tmp_path)[200.0]
    assert early["llmbench"]["interrupted"] is True
    assert 10 <= early["completed"] < 100
    unsent = early["llmbench"]["unsent_requests"]
    assert early["completed"] + early["failed"] + unsent == 100
    assert whole["llmbench"]["interrupted"] is False
    assert (whole["completed"], whole["failed"]) == (100, 0)


def test_an_interrupted_experiment_keeps_its_runs_and_has_the_last_word(sim, tmp_path):
    path = locustfile(tmp_path, UNTIL_STOPPED)
    process = start(*saving(sim, tmp_path, 60), locustfile=path)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.json"))) == 1)
    wait_for(lambda: _received(sim) > 2 * READY_CHECK + 65)  # of the second run
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 130, output
    assert "answered with what there is" in output
    found = results(tmp_path)
    assert sorted(found) == [10.0, 100.0]
    assert found[100.0]["llmbench"]["interrupted"] is False
    assert found[10.0]["llmbench"]["interrupted"] is True


@pytest.mark.parametrize("workers", [(), ("--processes", 2)], ids=["alone", "workers"])
def test_a_run_that_stands_still_loses_nothing(workers, sim, tmp_path):
    """With workers it is their master that stands still, longer than a lease."""
    process = start(*saving(sim, tmp_path, 100), "--request-rate", 30, *workers)
    wait_for(lambda: _received(sim) > 10)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    output = finish(process)
    result = results(tmp_path)[30.0]
    assert (result["completed"], result["failed"]) == (100, 0), output
