"""The verdict of real runs: the second of two equal runs measures the prefix cache."""

import json

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust

FIXED = ["--clock", "fixed", "--ttft-ms", "10", "--itl-ms", "1"]


def verdict(sim, tmp_path, *more, num_prompts=64):
    (tmp_path / "r.json").unlink(missing_ok=True)
    done = locust(
        *("--base-url", sim.url, "--num-prompts", num_prompts, "--request-rate", 100, *SMALL),
        *("--random-input-len", 200, "--metric-percentiles", 90, "--strict", "--save-result"),
        *("--result-dir", tmp_path, "--result-filename", "r.json", *more),
    )
    found = json.loads((tmp_path / "r.json").read_text())["llmbench"]["validity"]
    assert (done.returncode == 0) == found["valid"]
    assert done.returncode in (0, 1, 4)
    return [r["reason"] for r in found["reasons"] if r["reason"] != "client_limited"], done.stdout


def test_the_same_seed_twice_finds_a_warm_cache_and_a_reset_does_not(tmp_path):
    with launch([*FIXED, "--prefix-cache", "100000"]) as sim:
        assert verdict(sim, tmp_path)[0] == []
        names, printed = verdict(sim, tmp_path)
        assert names == ["warm_cache"]
        assert "Result: NOT VALID: " in printed
        for wanted in ("auto", "always"):
            names, printed = verdict(sim, tmp_path, "--reset-cache", wanted)
            assert names == []
            assert "Prefix cache: emptied" in printed


def test_failures_few_requests_and_duplicates_make_a_result_not_valid(tmp_path):
    data = tmp_path / "same.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"Question {i % 4}"}) for i in range(64)))
    with launch(FIXED) as sim:
        assert verdict(sim, tmp_path, num_prompts=63)[0] == ["too_few_samples"]
        same = ("--dataset-name", "custom", "--dataset-path", data, "--custom-output-len", 8)
        assert verdict(sim, tmp_path, *same)[0] == ["duplicate_prompts"]
    with launch([*FIXED, "--fault", "status=500", "--fault-rate", "0.2"]) as sim:
        assert verdict(sim, tmp_path, "--ready-check-timeout-sec", 0, num_prompts=100)[0] == [
            "failed_requests"
        ]
