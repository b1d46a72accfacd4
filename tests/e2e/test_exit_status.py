"""Exit statuses, and results that are never lost: docs/exit-status.md, row by row."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from llmbench_locust.cli import sweep
from llmbench_locust.errors import ConfigError
from llmbench_locust.experiments.single import exit_status
from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, finish, locust, result, start, wait_for

GOOD = {"written": True, "workers_lost": 0, "completed": 9, "checks_passed": True, "valid": True}
SIX = ("--sim", *SMALL, "--num-prompts", 6)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, None),
        ({"written": False}, 1),
        ({"workers_lost": 1}, 1),
        ({"completed": 0}, 1),
        ({"checks_passed": False}, 3),
        ({"valid": False}, 4),
        ({"valid": False, "checks_passed": False}, 3),
        ({"written": False, "checks_passed": False}, 1),
    ],
)
def test_the_table(change, status):
    assert exit_status(**{**GOOD, **change}) == status


@pytest.mark.parametrize("more", [["--save-result"], ["--capacity", "--goodput", "ttft:900"]])
def test_a_directory_that_cannot_be_written_is_said_before_the_run(tmp_path, more):
    (tmp_path / "file").write_text("")
    argv = SIX if "--save-result" in more else ("--sim", *SMALL)
    done = locust(*argv, *more, "--result-dir", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert f"--result-dir: {tmp_path}/file/out cannot be written: Not a directory" in done.stderr
    assert "Starting main benchmark run" not in done.stdout


def test_a_sweep_says_so_before_its_first_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--output-dir: .* cannot be written: Not a directory"):
        sweep.main(["serve", "-o", str(tmp_path / "file" / "out"), "--", "--sim"])


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_a_result_is_rescued_when_its_disk_is_full(tmp_path):
    disk, rescue = tmp_path / "disk", tmp_path / "rescue"
    disk.mkdir()
    rescue.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine cannot mount a tmpfs")
    try:
        flags = ("--save-result", "--save-detailed", "--result-dir", disk)
        done = locust("--sim", *SMALL, "--num-prompts", 200, *flags, env={"TMPDIR": str(rescue)})
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert "could not be written: No space left on device" in done.stderr
    (found,) = rescue.glob("*.json")
    assert f"Wrote {found} instead" in done.stderr
    assert json.loads(found.read_text())["completed"] == 200


@pytest.mark.parametrize("flag", ["--master-bind-port", "--web-port"])
def test_a_taken_port_is_one_line_and_leaves_no_process(flag):
    """Workers without their master would wait, and then work for the next one."""
    with socket.create_server(("0.0.0.0", 0)) as other:
        headless = flag != "--web-port"
        taken = (flag, other.getsockname()[1])
        argv = ("--processes", 2, *taken) if headless else taken
        process = start("--sim", *SMALL, *argv, headless=headless)
        output = finish(process)  # to the end of its output, which workers share
    assert process.returncode == 1, output
    assert output.splitlines()[-1].startswith(f"error: {flag}: "), output
    assert "Address already in use" in output
    assert "Traceback" not in output


def test_an_existing_result_is_not_overwritten(tmp_path):
    flags = ("--save-result", "--result-dir", tmp_path, "--result-filename", "r.json")
    (tmp_path / "r.json").write_text("old")
    done = locust(*SIX, *flags)
    assert done.returncode == 0, done.stderr
    assert f"Wrote {tmp_path}/r.1.json" in done.stdout
    assert (tmp_path / "r.json").read_text() == "old"


#: gevent forgets a child that died more than a minute ago. With this, at once.
FORGETFUL = """
import gevent
from gevent.os import _reap_children
from llmbench_locust.locustfiles.serve import Arrivals, ServeUser

def forget():
    while True:
        gevent.sleep(0.1)
        _reap_children(-1)

gevent.spawn(forget)
"""


def test_a_killed_worker_is_no_success(tmp_path):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    with launch([]) as sim:
        process = start(
            *("--base-url", sim.url, *SMALL, "--processes", 2, "--num-prompts", 400),
            *("--request-rate", 100, "--save-result", "--result-dir", tmp_path),
            *("--exit-code-on-error", 0),
            locustfile=tmp_path / "forgetful.py",
        )
        workers = wait_for(lambda: _children(process.pid, "forgetful", 2))
        wait_for(lambda: _received(sim.url) > 20)
        os.kill(workers[0], signal.SIGKILL)
        output = finish(process)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert sum(worker["lost"] for worker in result(tmp_path)["llmbench"]["workers"]) == 1


def _children(pid, name, count):
    """The forked workers: children of the master that run the same command."""
    found = [
        int(child)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if name in Path(f"/proc/{child}/cmdline").read_text()
    ]
    return found if len(found) == count else None


def _received(url):
    return requests.get(f"{url}/sim/stats?requests=0", timeout=60).json()["received"]
