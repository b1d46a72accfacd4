"""Master and workers as real processes: the same requests, each exactly once, on one schedule,
under one cap, whatever dies.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import requests

from llmbench_locust.arrivals import arrival_offsets
from llmbench_locust.simulator.launch import launch
from tests.commands import MOST_S, SMALL, cluster, finish, locust, result, start, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture
def sim(tmp_path):
    log = tmp_path / "sim.log"
    process = launch(["--clock", "fixed", "--ttft-ms", "50", "--itl-ms", "10", "--log", str(log)])
    process.log = log
    yield process
    process.stop()


def arrived(log, prefix="bench-"):
    """What the server saw of the run itself: the ready check carries the first request's id, and
    came before.
    """
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [r for r in rows if "completions" in r["path"]][1:]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_each_request_once_and_on_time(workers, sim, tmp_path):
    n, rate = 600, 300.0
    argv = ("--base-url", sim.url, "--num-prompts", n, "--request-rate", int(rate), *SMALL)
    saving = (
        "--save-result",
        "--result-dir",
        tmp_path / "out",
        "--per-request",
        tmp_path / "r.csv",
    )
    with cluster(workers, *argv, *saving, forked=workers > 2) as (master, _, _):
        output = finish(master)
    assert master.returncode == 0, output
    found = result(tmp_path / "out")
    assert (found["completed"], found["failed"]) == (n, 0)
    assert len(found["llmbench"]["workers"]) == workers
    rows = arrived(sim.log)
    assert len(rows) == n
    assert max(Counter(r["id"] for r in rows).values()) == 1
    # By the schedule: never early, and soon after its time unless the machine stood still.
    table = pd.read_csv(tmp_path / "r.csv")
    np.testing.assert_allclose(table["due_s"], arrival_offsets(n, request_rate=rate), atol=1e-6)
    late = table["start_s"] - table["due_s"]
    assert late.min() >= 0
    assert late.quantile(0.2) < 0.1  # usually 0.001
    # Locust's own count agrees.
    assert f"{n}" in output


def test_processes_do_the_same_as_one(sim, tmp_path):
    argv = (
        "--base-url",
        sim.url,
        "--num-prompts",
        200,
        "--request-rate",
        200,
        *SMALL,
        "--save-result",
        "--request-id-prefix",
        "x-",
    )
    assert locust(*argv, "--result-dir", tmp_path / "one").returncode == 0
    alone = sorted((r["id"], r["sha"]) for r in arrived(sim.log))
    sim.log.write_text("")
    assert locust(*argv, "--result-dir", tmp_path / "two", "--processes", 2).returncode == 0
    assert sorted((r["id"], r["sha"]) for r in arrived(sim.log)) == alone
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    for key in ("completed", "total_input_tokens", "total_output_tokens", "num_prompts"):
        assert one[key] == two[key]


def test_the_cap_holds_over_all_workers_and_is_used(sim, tmp_path):
    argv = (
        "--base-url",
        sim.url,
        "--num-prompts",
        300,
        "--max-concurrency",
        7,
        *("--percentile-metrics", "e2el"),
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path / "out",
    )
    with cluster(3, *argv, forked=True) as (master, _, _):
        output = finish(master)
    assert master.returncode == 0, output
    found = result(tmp_path / "out")
    assert (found["completed"], found["max_concurrency"]) == (300, 7)
    assert found["llmbench"]["peak_concurrent_requests"] <= 7
    assert requests.get(f"{sim.url}/sim/stats", timeout=60).json()["peak_in_flight"] <= 7
    # Most of the time as many requests as the cap allows are in flight, however slow this machine.
    busy_s = found["mean_e2el_ms"] / 1000 * found["completed"]
    assert busy_s / found["duration"] > 3


@pytest.mark.parametrize(("how", "n"), [(signal.SIGKILL, 400), (signal.SIGSTOP, 600)])
def test_a_lost_worker_loses_nothing(how, n, sim, tmp_path):
    argv = (
        "--base-url",
        sim.url,
        "--num-prompts",
        n,
        "--request-rate",
        100,
        *SMALL,
        "--save-result",
        "--save-detailed",
    )
    with cluster(
        2, *argv, "--result-dir", tmp_path / "out", "--per-request", tmp_path / "r.csv"
    ) as (master, crew, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 100)
        os.killpg(crew[0].pid, how)
        if how == signal.SIGSTOP:
            time.sleep(6)
            os.killpg(
                crew[0].pid, signal.SIGCONT
            )  # what it holds was given to others: it must not send it now
        output = finish(master)
    found = result(tmp_path / "out")
    assert found["completed"] + found["failed"] == n, output
    assert found["llmbench"]["audit"]["workers_lost"] == 1
    lost = found["llmbench"]["errors"]["worker_lost"]["count"]
    assert found["failed"] == lost
    assert lost < 200  # what it may have sent in the lease and the seconds before
    counts = Counter(r["id"] for r in arrived(sim.log))
    assert max(counts.values()) == 1
    assert len(counts) >= found["completed"]


#: A worker of Locust ends if its master is silent for a minute. With this, for six seconds.
IMPATIENT = """
from locust import runners
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser
runners.MASTER_HEARTBEAT_TIMEOUT = 6
"""


def test_processes_that_stood_still_continue(sim, tmp_path):
    """After Ctrl-Z, or on a machine that was suspended."""
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    argv = ("--base-url", sim.url, "--num-prompts", 50, "--request-rate", 5, *SMALL)
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    process = start(*argv, *saving, "--processes", 2, locustfile=tmp_path / "impatient.py")
    wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 20)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(8)
    os.killpg(process.pid, signal.SIGCONT)
    output = finish(process)
    assert process.returncode == 0, output
    assert result(tmp_path / "out")["completed"] == 50


def test_a_worker_ends_if_its_master_is_silent(sim, tmp_path):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    argv = ("--base-url", sim.url, "--num-prompts", 5000, "--request-rate", 50, *SMALL)
    argv += ("--no-journal",)  # in the current directory, which the killed master would leave
    with cluster(1, *argv, locustfile=tmp_path / "impatient.py") as (master, crew, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 20)
        os.killpg(master.pid, signal.SIGSTOP)
        assert "the master was silent for " in finish(crew[0])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_loses_all_workers_is_no_success(how, sim, tmp_path):
    argv = ("--base-url", sim.url, "--num-prompts", 5000, "--request-rate", 50, *SMALL)
    with cluster(2, *argv, "--save-result", "--result-dir", tmp_path / "out") as (master, crew, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 50)
        for worker in crew:
            os.killpg(worker.pid, how)
        output = finish(master)
    assert master.returncode == 1, output
    found = result(tmp_path / "out")
    assert found["llmbench"]["audit"]["workers_lost"] == 2
    assert found["completed"] + found["failed"] == 5000
    assert found["llmbench"]["errors"]["worker_lost"]["count"] > 4000
    assert not found["llmbench"]["interrupted"]
    assert found["llmbench"]["overload"] is None, "the server kept up"
    assert "no worker is left: the run ends" in output


def test_what_a_worker_that_leaves_has_not_sent_goes_to_the_others(sim, tmp_path):
    n = 600
    argv = ("--base-url", sim.url, "--num-prompts", n, "--request-rate", 100, *SMALL)
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    with cluster(2, *argv, *saving) as (master, crew, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 100)
        crew[0].send_signal(signal.SIGTERM)
        output = finish(master)
    assert master.returncode == 1, output
    found = result(tmp_path / "out")
    broken_off = found["llmbench"]["errors"].get("interrupted", {"count": 0})["count"]
    assert found["llmbench"]["unsent_requests"] == 0
    assert (found["completed"], found["failed"]) == (n - broken_off, broken_off), output
    assert sorted(w["lost"] for w in found["llmbench"]["workers"]) == [False, True]
    counts = Counter(r["id"] for r in arrived(sim.log))
    assert (len(counts), max(counts.values())) == (n, 1)


def test_a_master_tells_how_many_workers_are_missing(sim):
    argv = ("--base-url", sim.url, "--num-prompts", 3, *SMALL)
    with cluster(2, *argv) as (master, crew, port):
        os.killpg(crew[0].pid, signal.SIGKILL)
        end = threading.Timer(MOST_S, master.kill)
        end.start()
        told = []
        while told[-1:] != [f"Waiting for workers: 1 of 2 connected to port {port}\n"]:
            told.append(master.stdout.readline())
            assert told[-1], told
        end.cancel()


def test_a_stopped_master_writes_what_there_is_and_the_workers_stop(sim, tmp_path):
    argv = (
        "--base-url",
        sim.url,
        "--num-prompts",
        5000,
        "--request-rate",
        100,
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path / "out",
    )
    with cluster(2, *argv) as (master, crew, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 100)
        master.send_signal(signal.SIGINT)
        output = finish(master)
        found = result(tmp_path / "out")
        assert found["llmbench"]["interrupted"] is True, output
        assert found["completed"] > 50
        assert found["completed"] + found["failed"] + found["llmbench"]["unsent_requests"] == 5000
        sent = len(arrived(sim.log))
        time.sleep(1.5)
        assert len(arrived(sim.log)) <= sent + 1
        for worker in crew:
            worker.wait(60)


def test_workers_of_a_master_that_dies_stop_sending(sim):
    argv = ("--base-url", sim.url, "--num-prompts", 5000, "--request-rate", 100, *SMALL)
    with cluster(1, *argv) as (master, _, _):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 50)
        os.killpg(master.pid, signal.SIGKILL)
        time.sleep(3)
        sent = len(arrived(sim.log))
        time.sleep(1)
        assert len(arrived(sim.log)) == sent


def test_a_worker_that_joins_late_takes_over_from_one_that_is_lost(sim, tmp_path):
    argv = (
        "--base-url",
        sim.url,
        "--num-prompts",
        9000,
        "--request-rate",
        60,
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path / "out",
        *("--loglevel", "INFO", "--logfile", tmp_path / "log"),
    )
    with cluster(2, *argv) as (master, crew, port):
        wait_for(lambda: sim.log.exists() and len(arrived(sim.log)) > 60)
        os.killpg(crew[0].pid, signal.SIGKILL)
        late = start("--worker", "--master-port", port, headless=False)
        try:
            wait_for(lambda: "joins the run" in (tmp_path / "log").read_text())
            sent = len(arrived(sim.log))
            wait_for(lambda: len(arrived(sim.log)) > sent + 60)
            master.send_signal(signal.SIGINT)
            output = finish(master)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(late.pid, signal.SIGKILL)
            late.communicate()
    found = result(tmp_path / "out")
    ended = found["completed"] + found["failed"] + found["llmbench"]["unsent_requests"]
    assert ended == 9000, output
    assert [w["lost"] for w in found["llmbench"]["workers"]].count(False) == 2
    assert len(found["llmbench"]["workers"]) == 3
    assert max(Counter(r["id"] for r in arrived(sim.log)).values()) == 1
