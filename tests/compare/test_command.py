"""`llmbench compare` as it is typed: files in, a table, files and an exit status out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmbench_locust.cli import main
from tests.compare.files import document, write
from tests.statistics import queues

GOLD = Path(__file__).parents[1] / "data" / "results"


@pytest.fixture
def runs(tmp_path):
    """a and b: equal servers with other arrivals; slow: a's arrivals, everything 8% longer."""
    rng = np.random.default_rng(5)
    paths = {}
    for i in range(3):
        state = rng.bit_generator.state
        paths[f"a{i}"] = write(tmp_path / f"a{i}.json", document(queues.run(rng, 0.5, 2000)))
        rng.bit_generator.state = state
        slow = document(queues.run(rng, 0.5, 2000, unit=1.08))
        paths[f"slow{i}"] = write(tmp_path / f"slow{i}.json", slow)
        b = document(queues.run(rng, 0.5, 2000), input_lens=[9, *[10] * 1999])
        paths[f"b{i}"] = write(tmp_path / f"b{i}.json", b)
    return paths


def side(runs, name):
    return [runs[f"{name}{i}"] for i in range(3)]


def test_a_slower_server_fails_the_gate(runs, capsys):
    assert main(["compare", runs["a0"], runs["slow0"], "--fail-on", "mean_ttft_ms>+5%"]) == 3
    shown = capsys.readouterr().out
    assert "Requests are paired" in shown
    assert "the intervals do not cover differences between runs" in shown
    assert "--fail-on mean_ttft_ms>+5%: the change is +8.0% to +8.0%: failed" in shown
    argv = ["--fail-on", "mean_ttft_ms>+5%", *side(runs, "a"), "--", *side(runs, "slow")]
    assert main(["compare", *argv]) == 3
    assert "Runs are paired" in capsys.readouterr().out
    assert main(["compare", *argv[2:], *argv[:2]]) == 3, "options may follow the files"


def test_summaries_of_repeat_are_passed_over(runs, tmp_path, capsys):
    """They match the pattern that finds the runs: base.*.json."""
    summary = tmp_path / "a.summary.json"
    summary.write_text('{"runs": 3, "figures": {}}')
    sides = [*side(runs, "a"), str(summary), "--", *side(runs, "b"), str(summary)]
    assert main(["compare", *sides]) == 0
    assert "Runs: 3 and 3" in capsys.readouterr().out
    assert main(["report", *side(runs, "a"), str(summary)]) == 0
    assert main(["report", str(summary)]) == 2, "nothing else is given"


def test_equal_servers_pass_and_a_strict_gate_wants_to_know(runs):
    sides = [*side(runs, "a"), "--", *side(runs, "b")]
    for condition in ("mean_ttft_ms>+5%", "output_throughput<-3%"):
        assert main(["compare", "--fail-on", condition, *sides]) == 0
    assert main(["compare", "--strict", "--fail-on", "mean_ttft_ms>+0.1%", *sides]) == 3


def test_cannot_tell_says_what_would(runs, capsys):
    assert main(["compare", runs["a0"], runs["b0"]]) == 0
    shown = capsys.readouterr().out
    assert "cannot tell (needs about" in shown
    assert "cannot tell (needs over 100 × the requests)" in shown
    assert "this helps: the same --seed on both sides, a lower percentile" in shown
    plain = [json.loads(Path(runs[k]).read_text()) for k in ("a0", "b0")]
    for key, found in zip(("a0", "b0"), plain, strict=True):
        kept = {k: v for k, v in found.items() if k not in ("ttfts", "start_times", "errors")}
        Path(runs[key]).write_text(json.dumps(kept))
    assert main(["compare", runs["a0"], runs["b0"], "--metrics", "p99_ttft_ms"]) == 0
    assert "cannot tell (needs --save-detailed or several runs)" in capsys.readouterr().out
    for key in ("a0", "b0"):  # no file has these figures by request
        found = json.loads(Path(runs[key]).read_text()) | {"request_goodput": 7.0}
        Path(runs[key]).write_text(json.dumps(found))
    assert main(["compare", runs["a0"], runs["b0"], "--metrics", "request_goodput"]) == 0
    assert "cannot tell (needs several runs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "status", "line"),
    [
        ({"failed": 40, "completed": 1960}, 4, "! new: 2.0% of the requests"),
        ({"total_input_tokens": 30_000}, 4, "! different workload: prompt length"),
        ({"llmbench": {"version": "0", "workload": {"seed": 0, "hash": "y"}}},
         4, "! different workload: same seed, other prompts or output lengths"),
        ({"llmbench": {"version": "0", "audit": {"client_limited": True, "reasons": ["loop"]}}},
         4, "! new: the client was the limit"),
        ({"llmbench": {"version": "0", "interrupted": True}}, 0, "- new: interrupted in "),
        ({"request_rate": 9.0}, 0, "- request rate differs: 8.0 and 9.0"),
        ({"model_id": "n"}, 0, "- model differs: m and n"),
    ],
)  # fmt: skip
def test_what_should_be_equal_is_listed_and_may_void_it(runs, capsys, change, status, line):
    base, found = (json.loads(Path(runs[name]).read_text()) for name in ("a0", "b0"))
    if "workload" in change.get("llmbench", {}):
        base["llmbench"] = {"version": "0", "workload": {"seed": 0, "hash": "x"}}
    Path(runs["a0"]).write_text(json.dumps(base))
    Path(runs["b0"]).write_text(json.dumps(found | change))
    assert main(["compare", runs["a0"], runs["b0"]]) == status
    assert line in capsys.readouterr().out
    assert main(["compare", "--force", runs["a0"], runs["b0"]]) == 0


@pytest.mark.parametrize("b", ["openai-rate", "openai-chat-concurrency", "ramp-up"])
def test_files_of_vllm_are_compared(b, capsys):
    status = main(["compare", str(GOLD / "openai-rate.json"), str(GOLD / f"{b}.json")])
    assert status == (0 if b == "openai-rate" else 4)
    assert "mean TTFT (ms)" in capsys.readouterr().out


def test_a_single_token_has_no_time_per_output_token(runs, capsys):
    """The first request of each file has one token: its whole decoding time is no TPOT."""
    assert main(["compare", runs["a0"], runs["a0"], "--metrics", "p99.99_tpot_ms"]) == 0
    assert f"{1000 * 0.95 / 49:.2f}  {1000 * 0.95 / 49:.2f}" in capsys.readouterr().out


def test_gaps_that_are_not_all_kept_are_not_compared_by_request(runs, capsys):
    for key in ("a0", "b0"):
        found = json.loads(Path(runs[key]).read_text())
        found |= {"p99_itl_ms": 123.0, "itls": [[0.01], *[[] for _ in found["latencies"][1:]]]}
        Path(runs[key]).write_text(json.dumps(found | {"llmbench": {"exact": False}}))
    assert main(["compare", runs["a0"], runs["b0"], "--metrics", "p99_itl_ms"]) == 0
    assert "123" in capsys.readouterr().out


def test_json_lines_are_several_runs(runs, tmp_path, capsys):
    for name in ("a", "slow"):
        lines = [json.loads(Path(path).read_text()) for path in side(runs, name)]
        write(tmp_path / f"{name}.jsonl", *lines)
    assert main(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "slow.jsonl")]) == 0
    assert "Runs: 3 and 3." in capsys.readouterr().out


def test_directories_are_compared_cell_by_cell(runs, tmp_path, capsys):
    for folder, name in (("one", "a"), ("two", "slow")):
        for rate in (8.0, 9.0):
            cell = tmp_path / folder / f"rate-{rate}"
            cell.mkdir(parents=True)
            for i in range(2):
                found = json.loads(Path(runs[f"{name}{i}"]).read_text()) | {"request_rate": rate}
                write(cell / f"run={i}.json", found)
            write(cell / "summary.json", [1])
    (tmp_path / "two" / "rate-9.0" / "run=0.json").rename(tmp_path / "two" / "lost.json")
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    shown = capsys.readouterr().out
    assert "== rate-8.0, rate 8.0" in shown
    assert "Runs: 2 and 1." in shown
    assert "- rate 9.0: only in" in shown


def test_capacities_are_compared(tmp_path, capsys):
    for side, ends in (("a", (9.0, 10.0, 11.0)), ("b", (19.0, 20.0, 21.0))):
        low, found, high = ends
        (tmp_path / side / "probes").mkdir(parents=True)
        capacity = {"capacity": found, "low": low, "high": high, "unit": "requests/s"}
        write(tmp_path / side / "capacity.json", capacity)
        probe = {"duration": 1.0, "completed": 1, "request_rate": found}
        write(tmp_path / side / "probes" / "0.json", probe)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    shown = capsys.readouterr().out
    assert "== capacity" in shown
    assert "+100" in shown
    assert "better" in shown
    assert "probes" not in shown


def test_files_for_machines_and_people(runs, tmp_path, monkeypatch):
    summary = tmp_path / "step.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    out = {k: tmp_path / f"out.{k}" for k in ("json", "markdown", "html")}
    flags = [word for k, path in out.items() for word in (f"--{k}", str(path))]
    assert main(["compare", runs["a0"], runs["slow0"], *flags, "--fail-on", "mean_ttft_ms>1%"]) == 3
    found = json.loads(out["json"].read_text())
    row = found["comparisons"][0]["metrics"]["mean_ttft_ms"]
    assert (row["verdict"], row["paired"]) == ("worse", True)
    assert row["interval"] == pytest.approx([0.08, 0.08])
    assert found["conditions"] == [
        {"condition": "mean_ttft_ms>1%", "comparison": "", "outcome": "failed"}
    ]
    assert summary.read_text() == out["markdown"].read_text()
    assert "| 🔴 **worse** |" in out["markdown"].read_text()
    page = out["html"].read_text()
    for title in ("TTFT: share of values", "E2EL: share of values", "TTFT over time"):
        assert title in page


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["a0"], "compare: 1 file without --; give two, or put --"),
        (["a0", "nowhere.json"], "nowhere.json: No such file or directory"),
        (["a0", __file__], "not JSON"),
        (["a0", "a1", "--fail-on", "x"], "--fail-on: 'x' is not a condition; write METRIC>+N%"),
        (["a0", "a1", "--fail-on", "p99_tft_ms>5%"], "(did you mean p99_ttft_ms?)"),
        (
            ["a0", "a1", "--fail-on", "request_goodput<-5%"],
            "request_goodput is 0 or missing in a file of base and new",
        ),
        (["a0", "a1", "--metrics", "speed"], "speed: no such metric"),
        (["a0", "a1", "--equivalence", "0"], "--equivalence: 0 is not allowed"),
        (
            ["a0", "a1", "--equivalence", "x"],
            "--equivalence: x is not allowed; use a percentage above",
        ),
        (["a0", "--"], "compare: no file follows --"),
        (["a0", "/"], "compare: / is a directory; give files, or two directories"),
        (["a0", "empty"], "not a result of a benchmark"),
    ],
)
def test_bad_input_is_one_line(runs, tmp_path, capsys, argv, line):
    runs["empty"] = write(tmp_path / "empty.json", {})
    assert main(["compare", *(runs.get(word, word) for word in argv)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_it_needs_neither_locust_nor_gevent(runs):
    code = (
        "import sys; from llmbench_locust.cli import main;"
        f"main(['compare', {runs['a0']!r}, {runs['b0']!r}]);"
        "sys.exit(len({'locust', 'gevent', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
