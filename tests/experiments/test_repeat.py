"""`--repeat`: numbered files, seeds, and a summary over the runs."""

import json

import pytest

from llmbench_locust.experiments.repeat import numbered, summary, table
from tests.commands import SMALL, locust


def test_runs_in_one_test_have_their_files_and_a_summary(tmp_path):
    done = locust(
        "--sim", *SMALL, "--num-prompts", 20, "--request-rate", 50, "--repeat", 2, "--seed", 7,
        "--save-result", "--save-detailed", "--result-dir", tmp_path, "--intervals",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (json.loads((tmp_path / f"result.{i}.json").read_text()) for i in range(2))
    assert first["generated_texts"] != second["generated_texts"]  # other seeds, other prompts
    found = json.loads((tmp_path / "result.summary.json").read_text())
    assert found["runs"] == 2
    values = [first["mean_ttft_ms"], second["mean_ttft_ms"]]
    assert found["figures"]["mean_ttft_ms"]["mean"] == pytest.approx(sum(values) / 2)
    assert "95% intervals within this run" in done.stdout
    assert "Over the runs" in done.stdout


def test_summary_by_hand():
    documents = [{"mean_ttft_ms": v, "date": "x", "num_prompts": 9} for v in (1.0, 2.0, 3.0)]
    found = summary(documents)
    assert list(found) == ["mean_ttft_ms"]
    row = found["mean_ttft_ms"]
    assert (row["mean"], row["variation"]) == (2.0, pytest.approx(0.5))
    assert row["interval"] == pytest.approx((-0.484, 4.484), abs=1e-3)
    assert "50.0%" in table(found)
    goodputs = [{"request_goodput": v, "duration": 3.0} for v in (1.0, 2.0, 3.0)]
    assert list(summary(goodputs)) == ["request_goodput"]
    assert summary([{"request_goodput": None}]) == {}
    assert summary(documents[:1])["mean_ttft_ms"]["interval"] is None
    assert summary([]) == {}


def test_numbers_stand_before_the_suffix():
    assert numbered("dir/a.b.json", 3) == "dir/a.b.3.json"
    assert numbered("table", 0) == "table.0"
