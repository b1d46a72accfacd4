"""What users do besides waiting: they cancel, give up, try again."""

import requests

from llmbench_locust.draws import draw
from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust, result

COMMON = (*SMALL, "--random-output-len", 40, "--metric-percentiles", 50)


def test_cancelled_requests_are_no_failures(tmp_path):
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "75"]) as sim:
        done = locust(
            *("--base-url", sim.url, *COMMON, "--num-prompts", 40, "--seed", 5),
            *("--cancel-rate", 0.4, "--cancel-after", "0.2s", "--goodput", "e2el:30000"),
            *("--check-answers", "regex:th[ei]", "--check", "valid_answers>=0"),
            *("--save-result", "--save-detailed", "--result-dir", tmp_path),
        )
        stats = requests.get(f"{sim.url}/sim/stats", timeout=60).json()
    assert done.returncode == 0, done.stderr
    wanted = sum(draw(5, "cancel", i) < 0.4 for i in range(40))
    found = result(tmp_path)
    block = found["llmbench"]
    assert (found["completed"], found["failed"]) == (40 - wanted, 0)
    assert block["cancelled"]["requests"] == stats["outcomes"]["gone"] == wanted
    assert block["errors"] == {}
    whole = [t for t, e in zip(found["generated_texts"], found["errors"], strict=True) if not e]
    assert block["answers"]["checked"] == len(whole) == 40 - wanted
    assert block["answers"]["valid"] == sum("the" in text or "thi" in text for text in whole)
    assert block["slo_attainment"]["all"] == 1.0
    assert ["Cancelled", "requests:", str(wanted)] in map(str.split, done.stdout.splitlines())


def test_timed_out_attempts_are_made_again(tmp_path):
    with launch(["--clock", "fixed", "--fault", "stall=1", "--fault-rate", "0.4"]) as sim:
        done = locust(
            *("--base-url", sim.url, *COMMON, "--num-prompts", 30, "--ready-check-timeout-sec", 0),
            *("--client-timeout", "2s", "--retries", 1, "--goodput", "e2el:1900"),
            *("--save-result", "--result-dir", tmp_path, "--model", "sim"),
        )
        stats = requests.get(f"{sim.url}/sim/stats", timeout=60).json()
    found = result(tmp_path)
    tried = found["llmbench"]["retries"]
    assert tried["requests"] == tried["attempts"] == stats["received"] - 30 > 0, done.stderr
    assert tried["errors"] == {"timeout": tried["attempts"]}
    assert found["completed"] + found["failed"] == 30
    assert found["failed"] == tried["requests"] - tried["succeeded"]
    # Whoever had to try again waited more than 2 s: goodput counts from the first attempt.
    assert found["llmbench"]["slo_attainment"]["all"] <= (30 - tried["requests"]) / 30
