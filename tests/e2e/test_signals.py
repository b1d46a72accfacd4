"""Signals: every phase of a run, once, twice and five times, alone, with workers, under a master.

The first signal is the order to stop and report. Each run ends with 130 or 143, promptly, with its
files whole; only the third signal may cost the files.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import (
    SERVE,
    SMALL,
    command,
    environment,
    free_port,
    locust,
    result,
    start,
    wait_for,
)

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
COUNTS = {"once": 1, "twice": 2, "five times": 5}
MODES = ("alone", "processes", "master")

#: A run whose report takes long, as that of a million requests does: nothing else gets a turn.
LONG_REPORT = """
from time import perf_counter
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser

class Slow(Arrivals):
    def experiment(self, runs):
        report = runs.run(runs.config)
        print("reporting", flush=True)
        end = perf_counter() + 1.5
        while perf_counter() < end:
            pass
        report.publish()

del Arrivals
"""

#: Python destroys it last, when signals have their default again.
LATE = """
import os
import signal
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):
        kill(pid, number)

late = Late()
"""


class Run:
    """A benchmark as its processes; ``wait_for`` and the tables below look at it."""

    def __init__(self, phase, mode, url, tmp_path):
        self.phase = PHASES[phase]
        self.url = url
        self.fifo = tmp_path / "prompts.jsonl"
        self.out = tmp_path / "out"
        self.port = free_port()
        self._before = received(url)
        self._lines = []
        self._readers = []
        os.mkfifo(self.fifo)
        locustfile = SERVE
        if phase == "reporting":
            locustfile = tmp_path / "slow.py"
            locustfile.write_text(LONG_REPORT)
        flags = [*(str(flag).format(run=self) for flag in self.phase.flags)]
        argv = ["--base-url", url, *SMALL, *flags, "--save-result", "--result-dir", self.out]
        argv += ["--num-prompts", 500, "--request-rate", 50] * ("--request-rate" not in flags)
        argv += ["--processes", 2] * (mode == "processes")
        if mode == "master":
            argv += ["--master", "--master-bind-port", self.port, "--expect-workers", 1]
        self.main = self._start(*argv, locustfile=locustfile)
        self.workers = []
        if mode == "master" and phase != "waiting for workers":
            worker = ("--worker", "--master-port", self.port)
            self.workers = [self._start(*worker, locustfile=locustfile, headless=False)]

    def _start(self, *argv, **options):
        process = start(*argv, **options)
        lines = iter(process.stdout.readline, "")
        reader = threading.Thread(target=lambda: self._lines.extend(lines))
        reader.start()
        self._readers.append(reader)
        return process

    @property
    def output(self):
        return "".join(self._lines)

    def sent(self):
        """Requests that the server has got."""
        return received(self.url) - self._before

    def reads_prompts(self):
        """Whether it waits for what is written to the file of its prompts."""
        with contextlib.suppress(OSError):  # as long as nobody reads
            self._writer = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
            return True

    def listens(self):
        """Whether the master is there for its workers."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            time.sleep(0.5)
            return True

    def signal(self, number, count):
        """As it comes: from a terminal to each process of it, from a manager to the first."""
        send = os.kill if number == signal.SIGTERM else os.killpg
        for _ in range(count):
            with contextlib.suppress(ProcessLookupError):
                send(self.main.pid, number)
            time.sleep(0.02)

    def ended(self):
        """Its exit status, once no process of it is left."""
        status = self.main.wait(30)
        wait_for(lambda: not _alive(self.main.pid), 5)
        return status

    def close(self):
        for process in (self.main, *self.workers):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for reader in self._readers:
            reader.join()

    def result(self):
        return result(self.out)


def _alive(group):
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def received(url):
    return requests.get(f"{url}/sim/stats?requests=0", timeout=5).json()["received"]


@dataclass(frozen=True)
class Phase:
    """``begun``: whether a run is in it. ``sends``: the most requests that it may have sent, None
    where the run itself has begun and there must be a result.
    """

    begun: Callable[[Run], bool]
    sends: int | None
    flags: tuple = ()


CUSTOM = ("--dataset-name", "custom", "--dataset-path", "{run.fifo}")
BURST = ("--num-prompts", 20, "--request-rate", "inf")
PHASES = {
    "waiting for workers": Phase(Run.listens, 0),
    "loading": Phase(Run.reads_prompts, 0, CUSTOM),
    "ready check": Phase(lambda run: run.sent() >= 1, 1),
    "warm-up": Phase(lambda run: run.sent() >= 2, 11, ("--num-warmups", 10)),
    "starting": Phase(lambda run: "Starting main benchmark run" in run.output, 200),
    "running": Phase(lambda run: run.sent() >= 10, None),
    "draining": Phase(lambda run: run.sent() >= 21, None, BURST),
    "reporting": Phase(lambda run: "reporting" in run.output, None, BURST),
}


def _cells():
    """Phase × mode × count. One count of each phase and mode is tried always: over the modes of a
    phase, all of them. The others are for `pytest -m by_hand`.
    """
    for p, phase in enumerate(PHASES):
        for m, mode in enumerate(MODES):
            if phase == "waiting for workers" and mode != "master":
                continue
            for c, count in enumerate(COUNTS):
                number = list(SIGNALS)[(p + c) % len(SIGNALS)]
                always = c == (p + m) % len(COUNTS)
                yield pytest.param(
                    *(phase, mode, count, number),
                    id=f"{phase}-{mode}-{count}-{number.name}",
                    marks=() if always else pytest.mark.by_hand,
                )


@pytest.fixture(scope="module")
def slow():
    """A server whose first token takes half a second, so that each phase lasts."""
    with launch(["--clock", "fixed", "--ttft-ms", "500", "--itl-ms", "100"]) as sim:
        yield sim.url


@pytest.fixture
def run(slow, tmp_path):
    """run(phase, mode): a run that is in that phase now."""
    runs = []

    def begin(phase, mode, **more):
        runs.append(Run(phase, mode, slow, tmp_path, **more))
        wait_for(lambda: runs[0].phase.begun(runs[0]) or runs[0].main.poll() is not None, 40)
        assert runs[0].main.poll() is None, runs[0].output
        return runs[0]

    yield begin
    for one in runs:
        one.close()


@pytest.mark.parametrize(("phase", "mode", "count", "number"), _cells())
def test_a_signal_ends_the_run_in_order(phase, mode, count, number, run):
    running = run(phase, mode)
    running.signal(number, COUNTS[count])
    assert running.ended() == SIGNALS[number], running.output
    assert "Traceback" not in running.output
    assert "Interrupted" in running.output
    for path in running.out.glob("*.json"):
        json.loads(path.read_text())  # whole, or not there
    if COUNTS[count] > 2:
        return
    if running.phase.sends is not None:
        assert running.sent() <= running.phase.sends
        return
    found = running.result()
    block = found["llmbench"]
    assert block["interrupted"] is (phase != "reporting")
    assert found["completed"] + found["failed"] + block["unsent_requests"] == found["num_prompts"]
    assert "no outcome" not in running.output
    assert not any(worker["lost"] for worker in block["workers"])
    for worker in running.workers:
        assert worker.wait(20) == 0


def test_a_third_signal_waits_for_no_report(run):
    running = run("reporting", "alone")
    running.signal(signal.SIGINT, 3)
    assert running.ended() == 130
    assert "Still writing results; once more ends at once" in running.output
    assert not list(running.out.glob("*.json")), running.output


def test_sigterm_to_all_processes_of_the_group(run):
    """As `timeout` and service managers send it: the workers leave the end to their master."""
    running = run("running", "processes")
    os.killpg(running.main.pid, signal.SIGTERM)
    assert running.ended() == 143, running.output
    assert running.result()["llmbench"]["interrupted"] is True
    assert "no outcome" not in running.output


def test_a_signal_while_the_process_ends_changes_nothing(slow, tmp_path):
    """All files are written: the run was carried out, whatever comes in the last milliseconds."""
    (tmp_path / "late.py").write_text(LATE)
    files = ("--save-result", "--result-dir", tmp_path / "out")
    done = locust(
        *("--base-url", slow, *SMALL, "--num-prompts", 2, *files), locustfile=tmp_path / "late.py"
    )
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "out")["completed"] == 2


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
    assert result(tmp_path / "out")["completed"] == 3


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
    assert result(tmp_path / "out")["completed"] == 3
