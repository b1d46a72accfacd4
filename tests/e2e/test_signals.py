"""Signals at every phase, once to five times, in one process, with workers, and under a master.

The first signal is the order to stop and report. Each run ends with 130 or 143, promptly, with its
files whole; only the third signal may cost the files.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, command, environment, finish, start, wait_for

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


@pytest.fixture(scope="module")
def slow():
    """A server whose first token takes half a second, so that each phase lasts."""
    with launch(["--clock", "fixed", "--ttft-ms", "500", "--itl-ms", "100"]) as sim:
        yield sim.url


def received(url):
    return requests.get(f"{url}/sim/stats?requests=0", timeout=5).json()["received"]


# phase → (flags, what says that it has begun)
PHASES = {
    "ready check": (["--num-prompts", 500, "--request-rate", 50], lambda n, out: n >= 1),
    "warm-up": (
        ["--num-prompts", 500, "--request-rate", 50, "--num-warmups", 100],
        lambda n, out: n >= 2,
    ),
    "starting": (
        ["--num-prompts", 500, "--request-rate", 50],
        lambda n, out: "Starting main benchmark run" in out(),
    ),
    "running": (["--num-prompts", 500, "--request-rate", 50], lambda n, out: n >= 20),
    "draining": (["--num-prompts", 20, "--request-rate", "inf"], lambda n, out: n >= 21),
}
MODES = {"alone": [], "processes": ["--processes", 2]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("phase", PHASES)
def test_one_signal_ends_the_run_in_order(phase, mode, slow, tmp_path):
    how = signal.SIGTERM if phase in ("warm-up", "draining") else signal.SIGINT
    status, output = _interrupt(phase, mode, slow, tmp_path, [how])
    assert status == STATUS[how], output
    assert "Traceback" not in output
    assert "Interrupted" in output
    if phase in ("running", "draining"):
        found = _result(tmp_path)
        assert found["llmbench"]["interrupted"] is True
        total = found["completed"] + found["failed"] + found["llmbench"]["unsent_requests"]
        assert total == found["num_prompts"]


@pytest.mark.parametrize(
    ("phase", "signals"),
    [
        ("running", [signal.SIGINT] * 2),
        ("running", [signal.SIGTERM] * 2),
        ("running", [signal.SIGHUP]),
        ("ready check", [signal.SIGTERM] * 2),
    ],
)
def test_a_second_signal_costs_nothing(phase, signals, slow, tmp_path):
    status, output = _interrupt(phase, "alone", slow, tmp_path, signals)
    assert status == STATUS[signals[0]], output
    assert "Traceback" not in output
    if phase == "running":
        assert _result(tmp_path)["llmbench"]["interrupted"] is True


@pytest.mark.parametrize("mode", MODES)
def test_five_signals_at_once_end_it_at_once(mode, slow, tmp_path):
    status, output = _interrupt("running", mode, slow, tmp_path, [signal.SIGINT] * 5)
    assert status == 130, output
    for path in tmp_path.glob("out/*.json"):
        json.loads(path.read_text())  # whole, or not there


def test_a_master_that_waits_for_its_workers_ends():
    process = start("--sim", *SMALL, "--master", "--master-bind-port", 0, "--expect-workers", 2)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    output = finish(process, 20)
    assert process.returncode == 130, output
    assert "Traceback" not in output


def test_a_full_disk_under_the_output_ends_no_run(slow, tmp_path):
    files = ["--save-result", "--result-dir", tmp_path / "out"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("--base-url", slow, *SMALL, "--num-prompts", 3, *files),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert "warning: standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert _result(tmp_path)["completed"] == 3


def test_a_reader_that_leaves_ends_no_run(slow, tmp_path):
    command = [sys.executable, "-m", "llmbench_locust", "serve", *map(str, SMALL)]
    command += ["--base-url", slow, "--num-prompts", "3", "--save-result"]
    shell = subprocess.run(
        ["bash", "-c", f"{' '.join(command)} --result-dir {tmp_path}/out | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "BrokenPipe" not in shell.stderr
    assert "Traceback" not in shell.stderr
    assert _result(tmp_path)["completed"] == 3


def _interrupt(phase, mode, url, tmp_path, signals):
    """Exit status and output of a run that gets ``signals`` once ``phase`` has begun."""
    flags, begun = PHASES[phase]
    before = received(url)
    process = start(
        *("--base-url", url, *SMALL, *MODES[mode], *flags),
        *("--save-result", "--result-dir", tmp_path / "out"),
    )
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        wait_for(lambda: begun(received(url) - before, lambda: "".join(lines)), 40)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        reader.join()
    return process.returncode, "".join(lines)


def _result(tmp_path):
    (path,) = (tmp_path / "out").glob("*.json")
    return json.loads(path.read_text())
