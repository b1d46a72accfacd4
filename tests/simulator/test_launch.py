"""The process: it starts, says where it is, stops, never outlives its parent; bad input is one line
and status 2.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from llmbench_locust._version import __version__
from llmbench_locust.errors import ConfigError, SetupError
from llmbench_locust.simulator.launch import launch, launch_ahead
from tests.simulator.wire import Connection, get


def llmbench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmbench_locust", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL
    )


def gone(pid: int) -> bool:
    """Within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_start_and_stop() -> None:
    sim = launch([])
    assert sim.alive
    assert get(sim.url, "/health").status == 200
    sim.stop()
    sim.stop()
    assert not sim.alive
    assert gone(sim.pid)
    with pytest.raises(OSError, match=r"refused|reset"):
        Connection(sim.url)


def test_one_that_was_started_ahead_is_taken_or_ends() -> None:
    others = {child.pid for child in psutil.Process().children()}
    for args, wanted in (([], []), (["--model", "a"], ["--model", "b"])):
        launch_ahead(args)
        (ahead,) = {child.pid for child in psutil.Process().children()} - others
        with launch(wanted) as sim:
            assert (sim.pid == ahead) == (args == wanted)
            assert args == wanted or gone(ahead)


def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    with launch([]) as sim:
        assert os.getpgid(sim.pid) != os.getpgid(0)
        assert os.getsid(sim.pid) != os.getsid(0)


def test_two_at_once_have_ports_of_their_own() -> None:
    with launch([]) as one, launch(["--model", "other"]) as other:
        assert one.url != other.url
        assert get(other.url, "/v1/models").json["data"][0]["id"] == "other"


def test_it_stops_in_the_middle_of_streams() -> None:
    sim = launch(["--clock", "fixed"])
    connection = Connection(sim.url)
    connection.send("/v1/completions", {"prompt": "x", "max_tokens": 100_000, "stream": True})
    connection._until(b"data:")
    sim.stop()
    answer = connection.receive()
    assert answer is None
    assert not sim.alive


def test_bad_flags_raise_with_the_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^--jitter: 3 is not allowed; use a number from 0 to 1$"
    ):
        launch(["--jitter", "3"])


def test_no_url_in_time_or_at_all_is_an_error() -> None:
    with pytest.raises(SetupError, match="timed out"):
        launch([], timeout_s=0.0)
    with pytest.raises(SetupError, match="it printed no URL"):
        launch(["--help"])
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SetupError, match="--port: 127"),
    ):
        launch(["--port", str(taken.getsockname()[1])])


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = llmbench("sim", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith("llmbench: --port: 127.0.0.1 port")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(how: signal.Signals) -> None:
    code = (
        "import time;from llmbench_locust.simulator.launch import "
        "launch;p=launch([]);print(p.pid,flush=True);time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(how)
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


@pytest.mark.parametrize("flags", [["--die-with-stdin"], ["--parent", "PPID"]])
def test_either_way_of_dying_is_enough(flags: list[str]) -> None:
    code = f"""
import os, subprocess, sys, time
flags = [str(os.getpid()) if flag == "PPID" else flag for flag in {flags}]
command = [sys.executable, "-m", "llmbench_locust", "sim", "--port", "0", *flags]
sim = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert sim.stdout.readline().startswith("http")
print(sim.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_it_outlives_the_thread_that_started_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        sim = pool.submit(launch, []).result()
    time.sleep(0.1)
    assert sim.alive
    assert get(sim.url, "/health").status == 200
    sim.stop()


def test_under_gevents_patches_the_loop_goes_on() -> None:
    code = """
from gevent import monkey; monkey.patch_all()
import gevent
from llmbench_locust.simulator.launch import launch, launch_ahead
ticks = []
def tick():
    while True:
        ticks.append(1); gevent.sleep(0.005)
gevent.spawn(tick)
sim = launch([])
import requests
assert requests.get(sim.url + "/health").status_code == 200
sim.stop()
assert len(ticks) > 3, len(ticks)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["sim", "--port", "x"], "llmbench: --port: invalid whole number value: 'x'"),
        (
            ["sim", "--port", "70000"],
            "llmbench: --port: 70000 is not allowed; use a whole number from 0 to 65535",
        ),
        (["sim", "--clock", "wall"], "llmbench: --clock: invalid choice: 'wall'"),
        (
            ["sim", "--fault", "explode"],
            "llmbench: --fault: unknown fault 'explode'; allowed: status",
        ),
        (
            ["sim", "--fault", "cut=-1"],
            "llmbench: --fault: cut=-1 is not allowed; use a number from 0 to",
        ),
        (
            ["sim", "--error-rate", "2"],
            "llmbench: --error-rate: 2 is not allowed; use a number from 0 to 1",
        ),
        (
            ["sim", "--error-rate", "0.5", "--fault", "html"],
            "llmbench: --error-rate: cannot be used with --fault",
        ),
        (["sim", "--tls-key", "k"], "llmbench: --tls-key: needs --tls-cert"),
        (["sim", "--tls-cert", "/nowhere", "--port", "0"], "llmbench: --tls-cert: /nowhere: "),
        (["sim", "--log", "/nowhere/x", "--port", "0"], "llmbench: --log: /nowhere/x: "),
        (
            ["sim", "--host", "no.such.host.invalid", "--port", "0"],
            "llmbench: --host: no.such.host.invalid: ",
        ),
        (["sim", "--frobnicate"], "llmbench: unrecognized arguments: --frobnicate"),
        (["sum"], "llmbench: sum: no such command (did you mean sim?); allowed: "),
    ],
)
def test_bad_input_is_one_line_and_status_2(args: list[str], line: str) -> None:
    done = llmbench(*args)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_and_version() -> None:
    assert "  sim  " in llmbench("--help").stdout
    assert llmbench("--version").stdout == f"llmbench {__version__}\n"
    text = llmbench("sim", "--help").stdout
    for word in ("--clock", "--ttft-ms", "--fault", "tokens_per_chunk", "x-sim-fault"):
        assert word in text
