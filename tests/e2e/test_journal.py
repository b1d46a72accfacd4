"""A run that was killed has its report all the same."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import MOST_S, ROOT, SMALL, environment, finish, locust, result, start, wait_for


def llmbench(*argv, cwd):
    command = [sys.executable, "-m", "llmbench_locust", *map(str, argv)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=MOST_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sim():
    process = launch(["--clock", "fixed", "--ttft-ms", "50", "--itl-ms", "10"])
    yield process.url
    process.stop()


def received(sim):
    return requests.get(f"{sim}/sim/stats?requests=0", timeout=60).json()["received"]


def long_run(sim, tmp_path, *more):
    """80 s: a journal by itself. Once it has something in it."""
    argv = ("--base-url", sim, "--num-prompts", 4000, "--request-rate", 50, *SMALL)
    run = start(*argv, "--header", "X-Key=s3cret", "--result-dir", tmp_path, *more)

    def written():
        return [path for path in tmp_path.glob("*.journal") if path.stat().st_size > 20_000]

    [journal] = wait_for(written)
    return run, journal


def test_a_killed_run_has_its_report(sim, tmp_path):
    run, journal = long_run(sim, tmp_path)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert b"s3cret" not in journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b"LLMJ half a block")
    status, out, err = llmbench("report", journal, "-o", "page.html", cwd=tmp_path)
    assert (status, err) == (
        0,
        f"{journal}: the last 17 bytes are an incomplete block and are left out\n",
    )
    assert "INTERRUPTED" in out
    assert "Client audit" in out
    assert (tmp_path / "page.html").stat().st_size > 10_000
    found = json.loads(journal.with_suffix(".json").read_text())
    assert found["completed"] == len(found["ttfts"]) > 20
    assert found["completed"] + found["llmbench"]["unsent_requests"] == 4000


def test_a_journal_has_what_the_result_has(sim, tmp_path):
    """The run's own report is made of it, too: what is written is not held in memory."""
    argv = ("--base-url", sim, "--num-prompts", 80, "--request-rate", 40, *SMALL)
    argv += ("--extra-body", '{"large": 18446744073709551616}')
    out = ("--save-result", "--save-detailed", "--result-dir", tmp_path)
    assert locust(*argv, *out, "--journal").returncode == 0
    [journal] = tmp_path.glob("*.journal")
    ours = result(tmp_path)
    status, out, _ = llmbench("report", journal, cwd=ROOT)
    assert status == 0
    assert "INTERRUPTED" not in out
    [path] = set(tmp_path.glob("*.json")) - {journal.with_suffix(".json")}
    found = json.loads(path.read_text())
    assert len(found["ttfts"]) == 80
    assert {key for key in ours if key != "llmbench" and found[key] != ours[key]} == set()
    mine, theirs = ours["llmbench"], found["llmbench"]
    assert mine["audit"]["send_lag_ms"]["p99"] is not None
    assert mine["server"]["all"]["counters"]["requests_finished"] == 80
    assert {key for key in mine if theirs[key] != mine[key]} == set()


def test_a_journal_knows_that_its_run_ended_although_the_plan_has_no_end(sim, tmp_path):
    argv = ("--base-url", sim, "--duration", "2s", "--max-concurrency", 2, *SMALL)
    out = ("--save-result", "--result-dir", tmp_path, "--result-filename", "ours.json")
    assert locust(*argv, *out, "--journal").returncode == 0
    [journal] = tmp_path.glob("*.journal")
    status, said, _ = llmbench("report", journal, cwd=ROOT)
    assert (status, "INTERRUPTED" in said) == (0, False)
    files = tmp_path / "ours.json", journal.with_suffix(".json")
    ours, found = (json.loads(path.read_text()) for path in files)
    assert found["completed"] == ours["completed"] > 0
    assert ours["llmbench"]["interrupted"] is found["llmbench"]["interrupted"] is False


def test_a_run_that_ends_removes_a_journal_that_it_wrote_by_itself(sim, tmp_path):
    """One that cannot be written any more costs a line, and no outcome."""
    run, journal = long_run(sim, tmp_path, "--save-result")
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (journal.stat().st_size + 10,) * 2)
    sent = received(sim)
    wait_for(lambda: received(sim) > sent + 120)
    time.sleep(1.5)  # the journal is written every second
    run.send_signal(signal.SIGINT)
    output = finish(run)
    assert output.count("journal could not be written: ") == 1, output
    found = result(tmp_path)
    assert found["completed"] + found["failed"] + found["llmbench"]["unsent_requests"] == 4000
    assert found["completed"] > 100
    assert not journal.exists()


def test_what_is_no_journal(tmp_path):
    (tmp_path / "no.journal").write_text("no")
    status, _, err = llmbench("report", tmp_path / "no.journal", cwd=ROOT)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "is not a journal" in err
