"""A run that was killed has its report all the same."""

import json
import os
import signal
import subprocess
import sys

import pytest

from llmbench_locust.simulator.launch import launch
from tests.commands import ROOT, SMALL, environment, locust, start, wait_for


def llmbench(*argv, cwd):
    command = [sys.executable, "-m", "llmbench_locust", *map(str, argv)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sim():
    process = launch(["--clock", "fixed", "--ttft-ms", "50", "--itl-ms", "10"])
    yield process.url
    process.stop()


def test_a_killed_run_has_its_report(sim, tmp_path):
    run = start(
        *("--base-url", sim, "--num-prompts", 4000, "--request-rate", 50, *SMALL),
        *("--header", "X-Key=s3cret", "--result-dir", tmp_path),
    )  # 80 s: a journal by itself

    def written():
        return [path for path in tmp_path.glob("*.journal") if path.stat().st_size > 20_000]

    [journal] = wait_for(written, 40)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=20)
    assert b"s3cret" not in journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b"LLMJ half a block")
    status, out, err = llmbench("report", journal, "-o", "page.html", cwd=tmp_path)
    assert (status, err) == (
        0,
        f"{journal}: the last 17 bytes are no whole block and are left out\n",
    )
    assert "INTERRUPTED" in out
    assert (tmp_path / "page.html").stat().st_size > 10_000
    found = json.loads(journal.with_suffix(".json").read_text())
    assert found["completed"] == len(found["ttfts"]) > 20
    assert found["completed"] + found["llmbench"]["unsent_requests"] == 4000


def test_a_run_that_ends_leaves_a_journal_only_where_it_was_asked_for(sim, tmp_path):
    argv = ("--base-url", sim, "--num-prompts", 5, *SMALL, "--result-dir", tmp_path)
    assert locust(*argv, "--journal").returncode == 0
    [journal] = tmp_path.glob("*.journal")
    status, out, _ = llmbench("report", journal, cwd=ROOT)
    assert status == 0
    assert "INTERRUPTED" not in out
    journal.unlink()
    assert locust(*argv, "-t", "70s", "--request-rate", 50).returncode == 0
    assert not list(tmp_path.glob("*.journal"))
    (tmp_path / "no.journal").write_text("no")
    status, _, err = llmbench("report", tmp_path / "no.journal", cwd=ROOT)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "is no journal" in err
