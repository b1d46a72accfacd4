"""A run that was killed, and the one that goes on with it: together each request once."""

import json
import os
import signal

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, start, wait_for
from tests.e2e.test_journal import llmbench


def test_journal_and_resumed_run_have_each_request_once(tmp_path):
    prompts = 900
    sim = launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "1"])
    try:
        run = start(
            *("--base-url", sim.url, "--num-prompts", prompts, "--max-concurrency", 10),
            *(*SMALL, "--journal", "--result-dir", tmp_path),
        )

        def written():
            return [path for path in tmp_path.glob("*.journal") if path.stat().st_size > 10_000]

        [journal] = wait_for(written, 40)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=20)
        argv = ("--resume", journal, "--save-result", "--save-detailed", "--result-filename")
        status, out, err = llmbench(
            "serve", *argv, "r.json", "--result-dir", tmp_path, cwd=tmp_path
        )
        other, _, what = llmbench("serve", "--resume", journal, "--seed", 5, cwd=tmp_path)
    finally:
        sim.stop()
    assert status == 0, out + err
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["completed"], found["failed"]) == (prompts, 0)
    assert len(found["ttfts"]) == prompts
    resumed = found["llmbench"]["resumed"]
    assert 0 < resumed["requests"] < prompts
    assert 0 < resumed["duration_s"] < found["duration"]
    assert (other, "is of another plan" in what) == (2, True)
