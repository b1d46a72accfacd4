"""`llmbench ab` against real simulators: a slower server fails the gate; bad input runs nothing."""

import json
import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import numpy as np
import pytest

from llmbench_locust.cli import ab, main
from llmbench_locust.simulator.launch import launch
from tests.commands import environment, free_port, hear_interrupts, wait_for
from tests.compare.files import document, write
from tests.statistics import queues

FLAGS = ["--tokenizer", "llmbench", "--input-len", "16", "--output-len", "8",
         "--num-prompts", "40", "--request-rate", "60", "--repeat", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def servers():
    fast, slow = (launch(["--clock", "fixed", "--ttft-ms", ms]) for ms in ("200", "1000"))
    with fast, slow:
        yield fast.url, slow.url


def test_a_slower_server_fails_the_gate(servers, tmp_path, capsys):
    """By P10, which a stall of a busy machine does not move."""
    a, b = (f"--base-url {url}" for url in servers)
    gate = ["--metrics", "p10_ttft_ms", "--fail-on", "p10_ttft_ms>+20%", "--force"]
    assert main(["ab", "--a", a, "--b", b, *FLAGS, *gate, "--dir", str(tmp_path)]) == 3
    shown = capsys.readouterr().out
    assert [line[:8] for line in shown.splitlines()[:4]] == ["A, run 1", "B, run 1", "B, run 2",
                                                             "A, run 2"]  # fmt: skip
    assert "Runs: 2 and 2." in shown
    assert "Runs are paired" in shown


def test_a_pair_whose_client_was_the_limit_is_run_again(tmp_path, capsys, monkeypatch):
    """Without servers: the runs are written here, the third one late."""
    made, rng = [], np.random.default_rng(1)

    def run(title, argv, path):
        made.append(path.name)
        audit = {"client_limited": len(made) == 3, "reasons": ["late"]}
        write(path, document(queues.run(rng, 0.5, 100), llmbench={"audit": audit}))

    monkeypatch.setattr(ab, "_serve", run)
    argv = ["ab", "--a", "--sim", "--b=--model b", "--repeat", "2", "--dir", str(tmp_path)]
    assert main(argv) == 0
    assert made == ["a.0.json", "b.0.json", "b.1.json", "a.1.json", "b.1.json", "a.1.json"]
    shown = capsys.readouterr().out
    assert "B, run 2 of 2, seed 1, again, as the client was the limit: late" in shown


def test_a_pair_that_stays_disturbed_is_left_out_while_two_are_left(tmp_path, capsys, monkeypatch):
    limited, rng = {"a.1.json"}, np.random.default_rng(1)

    def run(title, argv, path):
        audit = {"client_limited": path.name in limited, "reasons": ["late"]}
        write(path, document(queues.run(rng, 0.5, 100), llmbench={"audit": audit}))

    monkeypatch.setattr(ab, "_serve", run)
    argv = ["ab", "--a=--model a", "--b=--model b", "--repeat", "3", "--dir", str(tmp_path)]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    # Twice the three pairs, shared by all of them.
    assert shown.count("again, as the client was the limit: late") == 2 * 6
    assert "- pair 2 left out: the client was the limit: late" in shown
    assert "Runs: 2 and 2." in shown
    assert main([*argv, "--force"]) == 0
    shown = capsys.readouterr().out
    assert "again" not in shown
    assert "Runs: 3 and 3." in shown
    limited.add("b.2.json")
    assert main(argv) == 4


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--a", "x"], "the following arguments are required: --b"),
        (["--repeat", "1"], "--repeat: 1 is not allowed; use a whole number from 2 to 1000"),
        (["--fail-on", "x"], "--fail-on: 'x' is not a condition"),
        (
            ["--result-dir", "d"],
            "--result-dir: cannot be set for the runs of an A/B comparison; use --dir",
        ),
        (
            ["--a=--seed 1"],
            "--seed: cannot be set for the runs of an A/B comparison; give it outside --a",
        ),
        (["--json", "/dev/null/a.json"], "--json: /dev/null cannot be written: File exists"),
        (["--seed", "-1"], "--seed: -1 is not allowed; use a whole number from 0 to 4294967295"),
        (["--num-promts", "9"], "--num-promts: unknown flag; did you mean --num-prompts?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, argv, line):
    sides = [] if "--a" in argv else ["--a=--model a", "--b=--model b"]
    assert main(["ab", *sides, "--dir", str(tmp_path), *argv]) == 2
    assert line in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_named_while_it_is_waited_for(tmp_path, capsys):
    nobody = f"http://127.0.0.1:{free_port()}"
    sides = [f"--{side}=--base-url {nobody}" for side in "ab"]
    words = ["--ready-check-timeout-sec", "3", "--model", "a", "--dir", str(tmp_path)]
    assert main(["ab", *sides, *FLAGS, *words]) == 1
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == f"Waiting for {nobody} (0 s of 3 s): connection refused"
    assert "was not ready after 3 s" in last


def received(url):
    with urlopen(f"{url}/sim/stats", timeout=60) as response:
        return json.load(response)["received"]


def test_ctrl_c_ends_the_run_and_says_what_is_complete(servers, tmp_path):
    sides = [f"--{side}=--base-url {url}" for side, url in zip("ab", servers, strict=True)]
    slow, before = ["--request-rate", "1", "--dir", str(tmp_path)], received(servers[0])
    command = [sys.executable, "-m", "llmbench_locust", "ab", *sides, *FLAGS, *slow]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    try:
        assert process.stdout.readline().startswith("A, run 1 of 2")
        wait_for(lambda: received(servers[0]) > before)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert error == f"llmbench: interrupted: 0 of 2 pairs are complete in {tmp_path}\n"
        assert process.returncode == 130
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
