"""Users with tasks of their own: the same audit, ready check and exact accounts as with a plan."""

import os
import signal

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, cluster, finish, locust, result, start, wait_for

LOCUSTFILE = """
from locust import constant, task

from llmbench_locust import {user}


class Own({user}):
    wait_time = constant(0.02)

    @task
    def ask(self):
        self.{call}("Name a river in Europe.", max_tokens=10)
"""
SLOW = ["--clock", "fixed", "--ttft-ms", "200", "--itl-ms", "50"]


def locustfile(directory, user="OpenAIChatUser", call="chat"):
    path = directory / "own.py"
    path.write_text(LOCUSTFILE.format(user=user, call=call))
    return path


def totals(url):
    return requests.get(f"{url}/sim/stats", timeout=60).json()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop_timeout", [0, 5])
def test_the_run_accounts_for_what_the_server_saw(workers, stop_timeout, tmp_path):
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    load = ("-u", 6, "-r", 6, "-t", "4s", "--stop-timeout", stop_timeout)
    crew = ("--processes", workers) if workers > 1 else ()
    with launch(SLOW) as sim:
        flags = ("--base-url", sim.url, "--tokenizer", "llmbench", "--goodput", "e2el:9000")
        path = locustfile(tmp_path)
        done = locust(*flags, *saving, *load, "--disable-tqdm", *crew, locustfile=path)
        seen = totals(sim.url)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / "out")
    ready_check = 1
    assert found["failed"] == 0
    assert found["completed"] > 0
    assert found["llmbench"]["interrupted"] is False
    assert found["llmbench"]["unsent_requests"] == 0
    cut_off = found["llmbench"]["cut_off_requests"]
    assert found["completed"] + cut_off == seen["received"] - ready_check
    if stop_timeout:
        assert cut_off == 0
    assert found["total_output_tokens"] == 10 * found["completed"]
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])
    assert len(found["llmbench"]["workers"]) == workers
    assert found["llmbench"]["audit"]["loop_lag_ms"]["p99"] is not None


def test_the_tokenizer_counts_where_the_server_does_not(tmp_path):
    path = locustfile(tmp_path, "TensorRTLLMUser", "complete")
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    load = ("-u", 2, "-r", 2, "-t", "2s", "--stop-timeout", 5)
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "5"]) as sim:
        done = locust("--base-url", sim.url, *SMALL, *saving, *load, locustfile=path)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / "out")
    assert found["completed"] > 0
    assert found["total_output_tokens"] > 5 * found["completed"]


def test_workers_ask_the_simulator_that_the_master_started(tmp_path):
    path = locustfile(tmp_path)
    saving = ("--save-result", "--result-dir", tmp_path / "out")
    done = locust("--sim", "-u", 2, "-t", "5s", "--processes", 2, *saving, locustfile=path)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path / "out")
    assert found["completed"] > 0
    assert found["failed"] == 0


def test_a_server_that_is_not_there_ends_it_before_a_user_is_spawned(tmp_path):
    path = locustfile(tmp_path)
    where = ("--base-url", "http://127.0.0.1:9", "--model", "m")
    waiting = ("--ready-check-timeout-sec", 1)
    done = locust(*where, *waiting, "-u", 2, "-t", "5s", "--tokenizer", "llmbench", locustfile=path)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1, done.stderr
    assert "Successful requests" not in done.stdout


def test_checks_decide_the_exit_status(tmp_path):
    path = locustfile(tmp_path)
    run = ("--sim", "-u", 2, "-t", "2s", "--tokenizer", "llmbench")
    done = locust(*run, "--check", "completed>0", "--check", "completed<1", locustfile=path)
    assert done.returncode == 3, done.stdout
    assert "PASS  completed > 0" in done.stdout
    assert "FAIL  completed < 1" in done.stdout
    done = locust(*run, "--check", "completed", locustfile=path)
    assert done.returncode == 2
    assert done.stderr.count("error: --check") == 1, done.stderr


@pytest.mark.parametrize("flag", [("--dry-run",), ("--repeat", 2)])
def test_what_needs_a_plan_is_refused(flag, tmp_path):
    run = ("--sim", "-u", 2, "-t", "2s", "--tokenizer", "llmbench", *flag)
    done = locust(*run, locustfile=locustfile(tmp_path))
    assert done.returncode == 2, done.stdout
    assert done.stderr.count(f"error: {flag[0]}: needs prompts of a dataset") == 1, done.stderr


def test_a_run_that_loses_all_workers_ends_and_is_no_success(tmp_path):
    path = locustfile(tmp_path)
    saving = ("--save-result", "--result-dir", tmp_path / "out", "--tokenizer", "llmbench")
    with launch(SLOW) as sim:
        load = ("--base-url", sim.url, "-u", 6, "-t", "10m")
        with cluster(2, *load, *saving, locustfile=path) as (master, crew, _):
            wait_for(lambda: totals(sim.url)["received"] > 8)
            for worker in crew:
                os.killpg(worker.pid, signal.SIGKILL)
            output = finish(master)
    assert master.returncode == 1, output
    assert result(tmp_path / "out")["llmbench"]["audit"]["workers_lost"] == 2


def test_ctrl_c_reports_what_there_is(tmp_path):
    path = locustfile(tmp_path)
    with launch(SLOW) as sim:
        saving = ("--save-result", "--result-dir", tmp_path / "out", "--tokenizer", "llmbench")
        process = start("--base-url", sim.url, "-u", 3, *saving, locustfile=path)
        wait_for(lambda: totals(sim.url)["received"] > 8)
        process.send_signal(signal.SIGINT)
        output = finish(process)
    assert process.returncode == 130, output
    assert result(tmp_path / "out")["completed"] > 3
