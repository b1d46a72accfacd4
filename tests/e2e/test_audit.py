"""The client's verdict on itself: an idle client says false, one that is starved on purpose says
true, and by how much.
"""

import os
import subprocess
import sys

import pytest

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, command, environment, locust, result


@pytest.fixture
def sim():
    process = launch(["--clock", "fixed", "--ttft-ms", "100", "--itl-ms", "20"])
    yield process.url
    process.stop()


def test_an_idle_client_is_not_the_limit(sim, tmp_path):
    # Anything else on this machine can make it late, and the verdict is right to say so: one quiet
    # run of three is enough.
    for attempt in range(3):
        out = tmp_path / str(attempt)
        done = locust(
            "--base-url",
            sim,
            "--num-prompts",
            60,
            "--request-rate",
            20,
            *SMALL,
            "--save-result",
            "--result-dir",
            out,
        )
        audit = result(out)["llmbench"]["audit"]
        if not audit["client_limited"]:
            assert audit["reasons"] == []
            assert "Client: WAS THE LIMIT" not in done.stdout
            return
    pytest.fail(f"three times: {audit['reasons']}")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pinning needs Linux")
def test_a_starved_client_says_so_and_by_how_much(sim, tmp_path):
    core = str(sorted(os.sched_getaffinity(0))[-1])
    argv = command("--base-url", sim, "--num-prompts", 150, "--request-rate", 50, *SMALL,
    "--random-output-len", 40,
                   "--save-result", "--result-dir", tmp_path)  # fmt: skip
    hog = ["taskset", "-c", core, sys.executable, "-c", "while True: pass"]
    busy = []
    with subprocess.Popen(
        ["taskset", "-c", core, "nice", "-n", "10", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    ) as client:
        said = []
        try:
            for line in client.stdout:
                said.append(line)
                if (
                    "Starting main benchmark run" in line
                ):  # not before: starting up would take half a minute
                    busy = [subprocess.Popen(hog) for _ in range(3)]
                elif "Serving Benchmark Result" in line:  # reporting would take long
                    for process in busy:
                        process.kill()
        finally:
            client.kill()
            for process in busy:
                process.kill()
                process.wait()
    said = "".join(said)
    found = result(tmp_path)
    audit = found["llmbench"]["audit"]
    assert audit["client_limited"] is True, said
    assert audit["reasons"]
    assert "Client: WAS THE LIMIT" in said
    # What it reports beyond the server's 100 ms is its own lateness, and the audit admits as much.
    own_error_ms = found["mean_ttft_ms"] - 100
    assert own_error_ms <= audit["ttft_error_bound_ms"] + audit["send_lag_ms"]["max"] + 20
