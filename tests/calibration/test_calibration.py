"""The levels of a calibration (pure), its exact servers, and one calibration as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.calibration import kept
from llmbench_locust.calibration.levels import (
    CLOSE_ENOUGH,
    LEAST,
    TTFT_MS,
    Measured,
    limit_of,
    next_level,
)
from llmbench_locust.calibration.server import Paced, Simulated, build
from llmbench_locust.cli import main
from llmbench_locust.cli.calibrate import sentence
from tests.commands import SMALL, locust

IN_TIME = {
    "sends": 1,
    "late_mean_ms": 0.1,
    "late_max_ms": 9.0,
    "first_late_mean_ms": 0.7,
    "gap_late_p99_ms": 4.0,
}


def measured(level, error_ms, late=IN_TIME):
    itl = level.itl_ms + late["gap_late_p99_ms"] + error_ms
    return Measured(level, 0, TTFT_MS + late["first_late_mean_ms"] + 0.05, itl, late)


@given(st.floats(2 * LEAST, 2_000_000), st.integers(10, 5000))
def test_any_clients_limit_is_found(truth, streams):
    """A client whose error is small up to its limit, and large beyond."""
    done = []
    while (level := next_level(done, streams)) is not None:
        assert level.streams <= streams
        done.append(measured(level, 0.2 if level.chunks_per_s <= truth else 50))
        assert len(done) < 40
    found = limit_of(done)
    assert found is not None
    assert truth / CLOSE_ENOUGH <= found.level.chunks_per_s <= truth * (1 + 1e-9)


def test_the_servers_own_lateness_is_no_error_of_the_client():
    level = next_level([])
    assert (level.streams, level.rate, level.tokens) == (2000, 25, 75)
    found = measured(level, 0.3)
    assert found.itl_error_ms == pytest.approx(0.3)
    assert found.ttft_error_ms == pytest.approx(0.05)
    assert found.holds
    assert not Measured(level, 1, found.mean_ttft_ms, found.p99_itl_ms, IN_TIME).holds
    late = measured(level, 0.3, {**IN_TIME, "late_mean_ms": 3.0})
    assert late.server_late
    assert not late.holds
    wrong = measured(level, 100, late.late)
    assert not wrong.holds
    assert not wrong.server_late, "an error beyond the server's log is the client's"


@pytest.mark.parametrize("kind", ["compiled", "simulator"])
def test_an_exact_server_counts_its_own_sends(kind, tmp_path):
    server = Paced(build(tmp_path), 20, 5) if kind == "compiled" else Simulated(20, 5)
    body = {"model": "paced", "prompt": "x", "max_tokens": 7, "stream": True}
    answer = requests.post(f"{server.url}/v1/completions", json=body, timeout=20).text
    late = server.stop()
    assert answer.count('"finish_reason"') == late["sends"] == 7
    assert 0 <= late["late_mean_ms"] <= late["late_max_ms"]
    assert 0 <= late["first_late_mean_ms"] <= late["late_max_ms"]
    assert abs(late["gap_late_p99_ms"]) <= late["late_max_ms"] + 0.01  # counted in bins


def test_a_server_that_stood_still_says_what_its_gaps_were(tmp_path):
    """It is stopped for 600 ms in the middle: one gap of 30 is longer by about that."""
    server = Paced(build(tmp_path), 20, 20)
    body = {"model": "paced", "prompt": "x", "max_tokens": 31, "stream": True}
    with requests.post(f"{server.url}/v1/completions", json=body, stream=True, timeout=20) as got:
        lines = got.iter_lines()
        next(lines)
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(server.pid, signal.SIGCONT)
        assert sum(line.startswith(b"data: {") for line in lines) >= 30
    late = server.stop()
    assert late["first_late_mean_ms"] < 300 < late["late_max_ms"]
    assert late["gap_late_p99_ms"] >= 99  # counted up to 100


def test_a_calibration_is_kept_and_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = [sys.executable, "-m", "llmbench_locust", "calibrate"]
    done = subprocess.run(
        [*command, "--streams", "40", "--seconds", "1", "--against", "sglang"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "40 streams ×    25/s =    1,000 chunks/s" in done.stdout, done.stderr
    if done.returncode:  # a busy machine
        assert "the server itself was late" in done.stderr
        kept.keep({"processes": 1, "limit_chunks_per_s": 1000.0, "levels": [], "streams": 40})
    else:
        assert "This machine, 1 process: TTFT error" in done.stdout
        assert done.stdout.endswith("\nsglang: not installed here\n")
    found = kept.kept(1)
    for level in found["levels"]:
        assert level["server"]["sends"] == 40 * 75
    assert kept.kept(2) is None

    flags = ("--sim", "--num-prompts", 5, *SMALL, "--save-result", "--result-filename", "r.json")
    shown = locust(*flags, "--result-dir", tmp_path, env=dict(os.environ)).stdout
    quoted = json.loads((tmp_path / "r.json").read_text())["llmbench"]["audit"]["calibration"]
    assert quoted == {k: v for k, v in found.items() if k != "levels"}
    if found["limit_chunks_per_s"]:
        assert "Calibrated up to (chunks/s):" in shown


def test_the_sentence():
    found = {"processes": 2, "ttft_error_ms": 0.07, "p99_itl_error_ms": 0.1, "streams": 2000}
    found |= {"rate": 25.0, "limit_chunks_per_s": 86000.0, "server_was_late": False}
    found["limit_was_found"] = True
    assert sentence(found) == (
        "This machine, 2 processes: TTFT error 0.07 ms, P99 ITL error 0.10 ms at 2,000 streams × "
        "25/s; error under 1 ms up to 86,000 chunks/s. For more, use more processes, each with a "
        "core of its own (--processes 4)."
    )


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--against", "curl"], "--against: curl: unknown; allowed: vllm, vllm-rs, sglang"),
        (["--processes", "0"], "--processes: 0 is not allowed; use a whole number from 1 to 1000"),
    ],
)
def test_bad_input_is_one_line(argv, line, capfd):
    assert main(["calibrate", *argv]) == 2
    assert line in capfd.readouterr().err
