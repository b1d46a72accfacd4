"""`llmbench report`: our files draw what the run drew; other tools' files tell what they have."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmbench_locust.cli import main
from llmbench_locust.compare.drawing import shown_of
from llmbench_locust.compare.overlay import COLOURS, Side, overlay
from llmbench_locust.compare.reading import read_runs
from llmbench_locust.json_values import json_value
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.results.document import build_document
from llmbench_locust.results.headline import headline, tiles
from llmbench_locust.results.html import figures_of, report_html
from llmbench_locust.results.shown import Shown
from tests.commands import environment
from tests.metrics.rows import columns, failed, row
from tests.results.runs import config, finished
from tests.results.runs import figures as derived

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"

#: File, tool, then what it says itself: requests/s, output tokens/s, P99 TTFT, mean TPOT, P99 E2EL.
FILES = (
    ("vllm-rs.json", "vllm bench serve", 1.9591, 265.7845, 11.0477, 6.0724, 2612.315),
    ("sglang.jsonl", "SGLang's bench_serving", 20.6356, 140.3224, 12.7433, 6.034, 69.2441),
    ("guidellm.json", "GuideLLM", 5.2641, 84.2261, 9.9852, 6.0282, 101.4),
    ("aiperf.json", "AIPerf", 4.2615, 86.5078, 12.1162, 4.7881, 102.7266),
)


def ours(tmp_path, **more):
    """A detailed file of ours, and the run that it is of."""
    records = [
        row(0, 10.0, 0.1, (0.02, 0.03), due_time=9.9, output_len=3),
        row(1, 10.5, 0.3, (0.2,), due_time=10.5, output_len=2),
        failed(2, 10.6, 10.6),  # when a failed request ended is not in the file
        failed(3, np.nan, np.nan, kind="worker_lost"),  # never sent
    ]
    given = config(goodput={"ttft": 150.0}, **more)
    done = finished(*records, given=given, origin_s=10.0)
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(json_value(build_document(done))))
    return path, Shown.of(done, build_document(done))


def test_a_detailed_file_of_ours_draws_what_its_run_drew(tmp_path):
    path, live = ours(tmp_path)
    (run,) = read_runs(path)
    after = shown_of(run)
    assert (headline(after), tiles(after)) == (headline(live), tiles(live))
    was, found = dict(figures_of(live)), dict(figures_of(after))
    assert list(found) == list(was)
    for name in ("Load over time", "Latency over time", "Distributions"):
        for old, new in zip(was[name]["data"], found[name]["data"], strict=True):
            assert new["name"] == old["name"]
            assert new["y"] == pytest.approx(old["y"])
            assert new["x"] == pytest.approx(old["x"])
    text = report_html(after)
    assert "llmbench serve" in text
    assert "2026-11-24 03:42:01" in text
    assert "Raise --num-prompts" in text


def test_a_file_without_all_token_events_draws_none_over_time(tmp_path):
    store = RecordStore(max_exact_tokens=3)
    store.add(columns(row(0, 10.0, 0.1, (0.02, 0.03))))
    store.add(columns(row(1, 10.5, 0.1, (0.02, 0.03))))
    done = derived(store.columns(), folded=store.folded, origin_s=10.0)
    path = tmp_path / "folded.json"
    path.write_text(json.dumps(json_value(build_document(done))))
    (run,) = read_runs(path)
    names = [t["name"] for t in dict(figures_of(shown_of(run)))["Load over time"]["data"]]
    assert names == ["sent/s", "completed/s", "in flight"]


@pytest.mark.parametrize(("name", "tool", *("rate", "tokens", "ttft", "tpot", "e2el")), FILES)
def test_a_file_of_another_tool(name, tool, rate, tokens, ttft, tpot, e2el):
    (run,) = [shown_of(run) for run in read_runs(FOREIGN / name)]
    assert run.tool == tool
    assert run.document["request_throughput"] == pytest.approx(rate)
    assert run.document["output_throughput"] == pytest.approx(tokens)
    found = (run.latency_ms("ttft", 99), run.latency_ms("tpot", None), run.latency_ms("e2el", 99))
    assert found == pytest.approx((ttft, tpot, e2el), rel=1e-3)
    assert dict(tiles(run))["Failed"] == f"0 of {run.document['completed']}"
    text = report_html(run)
    assert f"Written by {tool.replace(chr(39), '&#x27;')}" in text
    assert "the client was the limit" in text or "start times" in text
    drawn = [title for title, _ in figures_of(run)]
    if name != "aiperf.json":
        assert "Distributions" in drawn
    assert ("Timeline of requests" in drawn) == (name in ("vllm-rs.json", "guidellm.json"))


def test_all_of_them_side_by_side(tmp_path, capsys):
    path, _ = ours(tmp_path)
    files = [str(path), *(str(FOREIGN / name) for name, *_ in FILES)]
    page, summary = tmp_path / "all.html", tmp_path / "all.md"
    assert main(["report", *files, "-o", str(page), "--markdown", str(summary)]) == 0
    shown = capsys.readouterr().out
    assert f"Wrote {page}" in shown
    assert "TTFT mean / P50 / P99 (ms)" in shown
    text = page.read_text()
    for _, tool, *_ in FILES:
        assert tool.replace("'", "&#x27;") in text
        assert tool in shown
    head, rule, *rows = summary.read_text().splitlines()
    assert head == "|  | ours.json | vllm-rs.json | sglang.jsonl | guidellm.json | aiperf.json |"
    assert rule == "| --- | --- | --- | --- | --- | --- |"
    assert all(line.count("|") == 7 for line in rows)


def test_the_load_of_a_ramp_is_the_ramp(capsys):
    gold = Path(__file__).parents[1] / "data" / "results" / "ramp-up.json"
    assert main(["report", str(gold)]) == 0
    assert "Load                        linear ramp from 2 to 12 req/s" in capsys.readouterr().out


def test_a_summary_of_one_file_goes_to_the_screen(tmp_path, capsys):
    path, live = ours(tmp_path)
    assert main(["report", str(path), "--markdown", "-"]) == 0
    assert capsys.readouterr().out.startswith(f"**{headline(live)}**\n\n|  | ours.json |\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "not a result of a benchmark"),
        ('{"benchmarks": [{}], "metadata": {}}', "a file of another tool that lacks 'metrics'"),
        ('{"request_latency": 1, "request_throughput": 2}', "another tool"),
        ("nothing", "not JSON"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(text, says, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["report", str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "other",
    [
        {"llmbench": {"cancelled": 3, "version": "9.0"}},
        {"llmbench": {"by_label": -1}},
        {"start_times": [1e300, 1.0, 2.0]},
        {"latencies": [float("inf"), 1.0, 2.0]},
        {"errors": [""]},
    ],
)
def test_a_file_of_another_version_or_edited_by_hand_is_one_line(other, tmp_path, capsys):
    path, _ = ours(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    assert main(["report", str(path), "-o", str(tmp_path / "page.html")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"llmbench: {path}: ")


def test_a_figure_that_is_no_number_is_missing(tmp_path, capsys):
    path = tmp_path / "a.json"
    odd = {"p99_ttft_ms": "x", "output_throughput": float("nan"), "request_throughput": 10**400}
    path.write_text(json.dumps({"duration": 1.0, "completed": 2, "model_id": "\ud83d", **odd}))
    page = tmp_path / "page.html"
    assert main(["report", str(path), "-o", str(page), "--markdown", "-"]) == 0
    assert "**n/a req/s**" in capsys.readouterr().out
    assert page.read_text()


def test_a_terminal_without_unicode():
    """As with LANG=en_US.ISO-8859-1, which has no ≤ and no …."""
    words = [sys.executable, "-m", "llmbench_locust", "serve", "--help"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=environment(PYTHONIOENCODING="latin-1"),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[flags of vllm bench serve]" in done.stdout


def test_names_that_are_alike_are_told_apart(tmp_path, capsys):
    path, _ = ours(tmp_path)
    (tmp_path / "b").mkdir()
    other = shutil.copy(path, tmp_path / "b")
    assert main(["report", str(path), str(other)]) == 0
    assert str(other) in capsys.readouterr().out


def test_a_run_in_which_every_request_failed_stands_beside_others(tmp_path, capsys):
    path, _ = ours(tmp_path)
    nothing = finished(failed(0, 1.0, 1.2), failed(1, 2.0, 2.1), given=config(), origin_s=1.0)
    other, page = tmp_path / "failed.json", tmp_path / "both.html"
    other.write_text(json.dumps(json_value(build_document(nothing))))
    assert main(["report", str(path), str(other), "-o", str(page)]) == 0
    assert main(["compare", str(path), str(other), "--force", "--html", str(page)]) == 0
    assert "failed.json" in capsys.readouterr().out


def test_more_runs_than_colours_are_told_apart(tmp_path):
    path, _ = ours(tmp_path)
    files = [shutil.copy(path, tmp_path / f"{i}.json") for i in range(len(COLOURS) + 1)]
    page = tmp_path / "many.html"
    assert main(["report", *map(str, files), "-o", str(page)]) == 0
    drawn = page.read_text().rpartition("E2EL: share of values")[2]
    lines = re.findall(r'"name": "(\d).json".*?"line": (\{.*?\})', drawn)
    styles = dict(lines[: len(files)])
    assert len(set(styles.values())) == len(styles) == len(files)


def test_a_single_request_is_drawn(tmp_path):
    one = tmp_path / "one.json"
    done = finished(row(0, 1.0, 0.1, (0.02, 0.03)), given=config(), origin_s=1.0)
    one.write_text(json.dumps(json_value(build_document(done))))
    (run,) = read_runs(one)
    for title, figure in overlay([Side("one", "red", [run])])[:4]:
        assert figure["data"][0]["y"][0] == 0.0, title
        assert figure["data"][0]["y"][-1] == 1.0, title
    shares = dict(figures_of(Shown.of(done, {})))["Distributions"]["data"][0]
    assert (shares["x"], shares["y"]) == (pytest.approx([100.0, 100.0]), [0.0, 100.0])


def test_a_pooling_run_says_how_many_failed(tmp_path, capsys):
    """vLLM's file of such a run has no ``failed``; ours has it in its own block."""
    path = tmp_path / "embeddings.json"
    done = finished(kind="pooling", given=config(percentile_metrics=("e2el",)))
    document = json_value(build_document(done))
    assert "failed" not in document
    path.write_text(json.dumps(document))
    assert main(["report", str(path)]) == 0
    assert "2, 1 failed" in capsys.readouterr().out
