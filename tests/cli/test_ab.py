"""`llmbench ab` against real simulators: a slower server fails the gate; bad input runs nothing."""

import numpy as np
import pytest

from llmbench_locust.cli import ab, main
from llmbench_locust.simulator.launch import launch
from tests.compare.files import document, write
from tests.statistics import queues

FLAGS = ["--tokenizer", "llmbench", "--input-len", "16", "--output-len", "8",
         "--num-prompts", "40", "--request-rate", "60", "--repeat", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def servers():
    fast, slow = (launch(["--clock", "fixed", "--ttft-ms", ms]) for ms in ("20", "60"))
    with fast, slow:
        yield fast.url, slow.url


def test_a_slower_server_fails_the_gate(servers, tmp_path, capsys):
    a, b = (f"--base-url {url}" for url in servers)
    gate = ["--metrics", "mean_ttft_ms", "--fail-on", "mean_ttft_ms>+20%", "--force"]
    assert main(["ab", "--a", a, "--b", b, *FLAGS, *gate, "--dir", str(tmp_path)]) == 3
    shown = capsys.readouterr().out
    assert [line[0] for line in shown.splitlines()[:4]] == ["A", "B", "B", "A"]
    assert "The run is the unit: 2 and 2 of them." in shown
    assert "Runs are paired" in shown


def test_a_pair_whose_client_was_the_limit_is_run_again(tmp_path, capsys, monkeypatch):
    """Without servers: the runs are written here, the third one late."""
    made, rng = [], np.random.default_rng(1)

    def run(argv, path):
        made.append(path.name)
        audit = {"client_limited": len(made) == 3, "reasons": ["late"]}
        write(path, document(queues.run(rng, 0.5, 100), llmbench={"audit": audit}))

    monkeypatch.setattr(ab, "_serve", run)
    argv = ["ab", "--a=--seed 1", "--b=--seed 2", "--repeat", "2", "--dir", str(tmp_path)]
    assert main(argv) == 0
    assert made == ["a.0.json", "b.0.json", "b.1.json", "a.1.json", "b.1.json", "a.1.json"]
    assert "B, run 2 of 2, seed 1, again: late" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--a", "x"], "the following arguments are required: --b"),
        (["--repeat", "1"], "--repeat: 1 is not allowed; a whole number from 2 to 1000"),
        (["--fail-on", "x"], "--fail-on: 'x' is no condition"),
        (["--result-dir", "d"], "--result-dir: not in an A/B comparison; use --dir"),
        (["--num-promts", "9"], "--num-promts: unknown flag; did you mean --num-prompts?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, argv, line):
    sides = [] if "--a" in argv else ["--a=--seed 1", "--b=--seed 2"]
    assert main(["ab", *sides, "--dir", str(tmp_path), *argv]) == 2
    assert line in capsys.readouterr().err
