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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import (
    MOST_S,
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
    """A benchmark as its processes, and its server, for ``wait_for`` and the tables below."""

    def __init__(self, phase, mode, tmp_path):
        self.phase = PHASES[phase]
        self.sim = launch(SLOW)
        self.url = self.sim.url
        self.fifo = tmp_path / "prompts.jsonl"
        self.out = tmp_path / "out"
        self.port = free_port()
        self._lines = []
        self._readers = []
        os.mkfifo(self.fifo)
        locustfile = SERVE
        if phase == "reporting":
            locustfile = tmp_path / "slow.py"
            locustfile.write_text(LONG_REPORT)
        flags = [*(str(flag).format(run=self) for flag in self.phase.flags)]
        argv = ["--base-url", self.url, *SMALL, *flags, "--save-result", "--result-dir", self.out]
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
        found = requests.get(f"{self.url}/sim/stats?requests=0", timeout=60).json()
        return found["received"]

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
        status = self.main.wait(60)
        wait_for(lambda: not _alive(self.main.pid))
        return status

    def close(self):
        for process in (self.main, *self.workers):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for reader in self._readers:
            reader.join()
        self.sim.stop()

    def result(self):
        return result(self.out)


def _alive(group):
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


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
        for m, mode in enumerate(MODES, 1):  # so that the master waits for workers once
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


#: A server whose first token takes half a second, so that each phase lasts.
SLOW = ("--clock", "fixed", "--ttft-ms", "500", "--itl-ms", "150")


@contextlib.contextmanager
def run_in(phase, mode, tmp_path):
    """A run that is in that phase now."""
    run = Run(phase, mode, tmp_path)
    try:
        wait_for(lambda: run.phase.begun(run) or run.main.poll() is not None)
        assert run.main.poll() is None, run.output
        yield run
    finally:
        run.close()


def tried(tmp_path, phase, mode, count, number):
    """The run after its signals, its exit status, and how many requests it sent."""
    with run_in(phase, mode, tmp_path) as run:
        run.signal(number, COUNTS[count])
        status, sent = run.ended(), run.sent()
        if COUNTS[count] < 3:
            for worker in run.workers:
                worker.wait(60)
    return run, status, sent


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """What came out of each cell that is asked for. They wait most of their time: several go on at
    once.
    """
    cells = [
        tuple(item.callspec.params[name] for name in CELL)
        for item in request.session.items
        if item.name.startswith("test_a_signal_ends_the_run_in_order[")
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {c: pool.submit(tried, tmp_path_factory.mktemp("run"), *c) for c in cells}


CELL = ("phase", "mode", "count", "number")
AT_ONCE = 3


@pytest.mark.parametrize(CELL, _cells())
def test_a_signal_ends_the_run_in_order(phase, mode, count, number, outcomes):
    running, status, sent = outcomes[phase, mode, count, number].result()
    assert status == SIGNALS[number], running.output
    assert "Traceback" not in running.output
    assert "Interrupted" in running.output
    for path in running.out.glob("*.json"):
        json.loads(path.read_text())  # whole, or not there
    if COUNTS[count] > 2:
        return
    if running.phase.sends is not None:
        assert sent <= running.phase.sends
        return
    found = running.result()
    block = found["llmbench"]
    assert block["interrupted"] is (phase != "reporting")
    assert found["completed"] + found["failed"] + block["unsent_requests"] == found["num_prompts"]
    assert "no outcome" not in running.output
    assert not any(worker["lost"] for worker in block["workers"])
    for worker in running.workers:
        assert worker.returncode == 0


def test_a_third_signal_waits_for_no_report(tmp_path):
    said = "Still writing results; a third signal ends at once"
    with run_in("reporting", "alone", tmp_path) as running:
        # Two that come close together may be one.
        wait_for(lambda: running.signal(signal.SIGINT, 1) or said in running.output)
        running.signal(signal.SIGINT, 1)
        assert running.ended() == 130
    assert not list(running.out.glob("*.json")), running.output


def test_sigterm_to_all_processes_of_the_group(tmp_path):
    """As `timeout` and service managers send it: the workers leave the end to their master."""
    with run_in("running", "processes", tmp_path) as running:
        os.killpg(running.main.pid, signal.SIGTERM)
        assert running.ended() == 143, running.output
    assert running.result()["llmbench"]["interrupted"] is True
    assert "no outcome" not in running.output


def test_a_signal_while_the_process_ends_changes_nothing(tmp_path):
    """All files are written: the run was carried out, whatever comes in the last milliseconds."""
    (tmp_path / "late.py").write_text(LATE)
    files = ("--save-result", "--result-dir", tmp_path / "out")
    done = locust("--sim", *SMALL, "--num-prompts", 2, *files, locustfile=tmp_path / "late.py")
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "out")["completed"] == 2


def test_a_full_disk_under_the_output_ends_no_run(tmp_path):
    files = ["--save-result", "--result-dir", tmp_path / "out"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("--sim", *SMALL, "--num-prompts", 3, *files),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=MOST_S,
            check=False,
        )
    assert "warning: standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert result(tmp_path / "out")["completed"] == 3


def test_a_reader_that_leaves_ends_no_run(tmp_path):
    command = [sys.executable, "-m", "llmbench_locust", "serve", "--sim", *SMALL]
    command += ["--num-prompts", "3", "--save-result"]
    shell = subprocess.run(
        ["bash", "-c", f"{' '.join(command)} --result-dir {tmp_path}/out | head -1"],
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    assert "BrokenPipe" not in shell.stderr
    assert "Traceback" not in shell.stderr
    assert result(tmp_path / "out")["completed"] == 3
