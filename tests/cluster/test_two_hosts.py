"""Two hosts on one machine: network namespaces joined by a veth pair, and a worker whose monotonic
clock is another one.
"""

import os
import shutil
import signal
import subprocess
import sys
import uuid

import pandas as pd
import pytest

from tests.commands import ROOT, SERVE, SMALL, environment, finish, result, wait_for

pytestmark = pytest.mark.cluster

AHEAD_S = 1000


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture
def hosts():
    """Names of two namespaces with the addresses 10.77.0.1 and 10.77.0.2, 5 ms apart where the
    kernel can delay.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    tag = uuid.uuid4().hex[:6]
    names = (f"llm{tag}a", f"llm{tag}b")
    try:
        for name in names:
            if run("ip", "netns", "add", name).returncode:
                pytest.skip("network namespaces are not permitted here")
        links = (f"v{tag}a", f"v{tag}b")
        made = run(
            "ip",
            "link",
            "add",
            links[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            links[1],
            "netns",
            names[1],
        )
        if made.returncode:
            pytest.skip("veth pairs are not permitted here")
        for i, (name, link) in enumerate(zip(names, links, strict=True), 1):
            run("ip", "-n", name, "addr", "add", f"10.77.0.{i}/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "netns",
            "exec",
            names[1],
            "tc",
            "qdisc",
            "add",
            "dev",
            links[1],
            "root",
            "netem",
            "delay",
            "5ms",
        )
        yield names
    finally:
        for name in names:
            run("ip", "netns", "del", name)


def spawn(host, *argv, clock_ahead_s=0):
    shifted = (
        ["unshare", "--time", "--monotonic", str(clock_ahead_s), "--fork"] if clock_ahead_s else []
    )
    return subprocess.Popen(
        ["ip", "netns", "exec", host, *shifted, sys.executable, *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
        cwd=ROOT,
    )


def test_a_worker_on_another_host_with_another_clock(hosts, tmp_path):
    if run("unshare", "--time", "--monotonic", "1", "--fork", "true").returncode:
        pytest.skip("time namespaces are not permitted here")
    here, there = hosts
    log = tmp_path / "sim.log"
    sim = spawn(
        here,
        "-m",
        "llmbench_locust",
        "sim",
        "--host",
        "10.77.0.1",
        "--port",
        8000,
        "--clock",
        "fixed",
        "--log",
        log,
    )
    started = [sim]
    try:
        wait_for(
            lambda: (
                run(
                    "ip", "netns", "exec", here, sys.executable, "-c", _probe("10.77.0.1", 8000)
                ).returncode
                == 0
            )
        )
        argv = (
            "--base-url",
            "http://10.77.0.1:8000",
            "--num-prompts",
            200,
            "--request-rate",
            100,
            *SMALL,
        )
        saving = (
            "--save-result",
            "--result-dir",
            tmp_path / "out",
            "--per-request",
            tmp_path / "r.csv",
        )
        locust = ("-m", "locust", "-f", SERVE)
        master = spawn(
            here,
            *locust,
            "--headless",
            "--master",
            "--master-bind-host",
            "10.77.0.1",
            "--expect-workers",
            1,
            *argv,
            *saving,
        )
        worker = spawn(
            there, *locust, "--worker", "--master-host", "10.77.0.1", clock_ahead_s=AHEAD_S
        )
        started += [master, worker]
        output = finish(master)
        found = result(tmp_path / "out")
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert (found["completed"], found["failed"]) == (200, 0), output
    (seen,) = found["llmbench"]["workers"]
    assert 0 < seen["clock_error_s"] < 0.1  # of the quickest of many exchanges
    assert seen["clock_offset_s"] == pytest.approx(AHEAD_S, abs=seen["clock_error_s"] + 1e-3)
    rows = pd.read_csv(tmp_path / "r.csv")
    # On the master's clock again: sent when due, give or take what the clocks are known to.
    late = rows["start_s"] - rows["due_s"]
    assert late.quantile(0.2) == pytest.approx(0, abs=seen["clock_error_s"] + 0.05)
    assert found["duration"] < 60


#: The kernel asks whether the server is still there after 2 s, not after a minute.
IMPATIENT = """
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser
from llmbench_locust.transport import connection
connection.KEEPALIVE = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
"""


def test_a_server_whose_network_is_gone_costs_only_its_requests(hosts, tmp_path):
    here, there = hosts
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    log = tmp_path / "sim.log"
    sim = spawn(
        *(here, "-m", "llmbench_locust", "sim", "--host", "10.77.0.1", "--port", 8000),
        *("--clock", "fixed", "--itl-ms", 3_600_000, "--log", log),
    )
    probe = ("ip", "netns", "exec", here, sys.executable, "-c", _probe("10.77.0.1", 8000))
    argv = ("--base-url", "http://10.77.0.1:8000", "--num-prompts", 4, *SMALL)
    argv += ("--ready-check-timeout-sec", 0, "--server-metrics", "off", "--save-result")
    try:
        wait_for(lambda: run(*probe).returncode == 0)
        locust = ("-m", "locust", "-f", tmp_path / "impatient.py", "--headless")
        client = spawn(there, *locust, *argv, "--result-dir", tmp_path / "out")
        wait_for(lambda: log.exists() and log.read_text().count("completions") == 4)
        assert run("ip", "-n", here, "link", "set", f"v{here[3:]}", "down").returncode == 0
        output = finish(client)
    finally:
        os.killpg(sim.pid, signal.SIGKILL)
        sim.communicate()
    assert result(tmp_path / "out")["failed"] == 4, output
    assert "Connection timed out" in output


def _probe(host, port):
    return f"import socket; socket.create_connection(('{host}', {port}), 1)"
