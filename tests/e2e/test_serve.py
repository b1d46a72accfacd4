"""The main job by its command, against the simulator: figures, files, faults, exit statuses,
interruptions.
"""

import json
import re
import signal

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, finish, locust, result, start, wait_for


@pytest.fixture
def sim():
    """A simulator with an exact schedule: first token after 100 ms, then one every 20 ms."""
    times = ["--clock", "fixed", "--ttft-ms", "100", "--itl-ms", "20", "--request-metrics"]
    process = launch(times)
    yield process.url
    process.stop()


def test_the_command_of_the_readme(tmp_path):
    done = locust(
        "--sim",
        "--num-prompts",
        100,
        "--request-rate",
        50,
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path,
        "--per-request",
        tmp_path / "new" / "requests.csv",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "requests.csv").exists()
    assert "Serving Benchmark Result" in done.stdout
    assert "Traceback" not in done.stderr
    found = result(tmp_path)
    assert (found["completed"], found["failed"], found["backend"], found["num_prompts"]) == (
        100,
        0,
        "openai",
        100,
    )
    assert found["total_output_tokens"] == 800
    assert found["llmbench"]["errors"] == {}
    assert "ttfts" not in found


def test_reported_latencies_are_the_servers_schedule(sim, tmp_path):
    done = locust(
        *(
            "--base-url",
            sim,
            "--num-prompts",
            40,
            "--request-rate",
            40,
            "--percentile-metrics",
            "ttft,tpot,itl,e2el",
        ),
        *("--save-result", "--save-detailed", "--result-dir", tmp_path),
        *("--metric-percentiles", "10,50", "--goodput", "ttft:60000", "e2el:1", *SMALL),
    )
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    # Never earlier than told. Later by about 1 ms (TTFT) and 0.2 ms (ITL, TPOT); by far more where
    # other programs have the cores, so it is the fastest tenth, and the median of the many gaps.
    assert all(t >= 0.0995 for t in found["ttfts"])
    assert found["p10_ttft_ms"] < 200
    assert 10 <= found["p50_itl_ms"] < 40
    assert found["p10_tpot_ms"] < 40
    assert found["output_lens"] == [8] * 40
    assert all(len(itl) == 7 for itl in found["itls"])
    assert all(0 <= t < 60 for t in found["server_queue_times"])
    assert all(t <= 0.1 + s for t, s in zip(found["server_ttfts"], found["ttfts"], strict=True))
    assert 0 < found["llmbench"]["server_request_times_ms"]["prefill"]["p10"] < 200
    assert found["request_goodput"] == 0.0
    assert found["llmbench"]["slo_attainment"] == {"ttft": 1.0, "e2el": 0.0, "all": 0.0}


def test_arrivals_are_those_of_the_plan(sim, tmp_path):
    locust(
        "--base-url",
        sim,
        "--num-prompts",
        50,
        "--request-rate",
        20,
        *SMALL,
        "--per-request",
        tmp_path / "r.csv",
    )
    import pandas as pd

    from llmbench_locust.arrivals import arrival_offsets

    rows = pd.read_csv(tmp_path / "r.csv")
    assert rows["success"].all()
    assert rows["due_s"].to_numpy() == pytest.approx(
        arrival_offsets(50, request_rate=20.0), abs=1e-6
    )
    late = rows["start_s"] - rows["due_s"]
    assert (late >= 0).all()
    assert late.quantile(0.2) < 0.25  # usually 0.0005


def test_the_cap_holds(sim, tmp_path):
    locust(
        "--base-url",
        sim,
        "--num-prompts",
        30,
        "--max-concurrency",
        5,
        *("--prewarm-connections", 3),
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path,
    )
    found = result(tmp_path)
    assert found["completed"] == 30
    assert found["llmbench"]["peak_concurrent_requests"] <= 5
    assert found["llmbench"]["workers"][0]["connections"] == 3  # before the clock started
    # The ready check is one more, and was over before.
    assert requests.get(f"{sim}/sim/stats", timeout=60).json()["peak_in_flight"] <= 5


def test_two_thousand_requests(tmp_path):
    done = locust(
        "--sim",
        "--num-prompts",
        2000,
        *SMALL,
        "--random-output-len",
        4,
        "--save-result",
        "--result-dir",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert (found["completed"], found["total_output_tokens"]) == (2000, 8000)
    # All at once: every connection was there before the clock started.
    assert found["llmbench"]["connections_opened_on_the_clock"] == 0
    audit = found["llmbench"]["audit"]
    assert audit["most_requests_in_flight"] <= audit["most_connections"] == 2000


def test_a_dead_server_is_one_line(tmp_path):
    done = locust(
        *(
            "--base-url",
            "http://127.0.0.1:9",
            "--model",
            "m",
            "--skip-tokenizer-init",
            "--dataset-name",
            "custom",
        ),
        *("--dataset-path", _custom(tmp_path), "--ready-check-timeout-sec", 1, "--disable-tqdm"),
    )
    assert done.returncode == 1
    assert "was not ready after 1 s (--ready-check-timeout-sec): connection refused" in done.stderr
    assert "Traceback" not in done.stderr


def _custom(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "hello"}\n')
    return path


def test_without_a_tokenizer_the_table_shows_no_token_figures(tmp_path, sim):
    argv = ("--dataset-name", "custom", "--dataset-path", _custom(tmp_path), "--num-prompts", 3)
    done = locust("--base-url", sim, *argv, "--disable-tqdm", "--skip-tokenizer-init")
    assert "Successful requests:                     3" in done.stdout
    assert not any(word in done.stdout for word in ("generated tokens", "tok/s", "TTFT (ms)"))


def test_failed_requests_are_counted_and_cost_nothing_else(tmp_path):
    done = locust(
        *(
            "--sim",
            "--sim-args",
            "--fault status=429 --fault-rate 0.3 --seed 3",
            "--ready-check-timeout-sec",
            0,
        ),
        *(
            "--num-prompts",
            60,
            "--request-rate",
            100,
            *SMALL,
            "--save-result",
            "--save-detailed",
            "--result-dir",
            tmp_path,
        ),
    )
    assert done.returncode == 1  # as Locust does with failures
    found = result(tmp_path)
    assert found["completed"] + found["failed"] == 60
    assert found["failed"] > 0
    assert found["llmbench"]["errors"]["http_429"]["count"] == found["failed"]
    assert sum(1 for e in found["errors"] if e) == found["failed"]
    assert "requests failed with http_429" in done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_there_is(how, tmp_path, sim):
    process = start(
        "--base-url",
        sim,
        "--num-prompts",
        3000,
        "--request-rate",
        40,
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path,
    )
    wait_for(lambda: _received(sim) > 40)
    process.send_signal(how)
    output = finish(process)
    assert process.returncode == (130 if how == signal.SIGINT else 143), output
    found = result(tmp_path)
    assert found["llmbench"]["interrupted"] is True
    assert 20 < found["completed"] < 3000
    assert found["completed"] + found["failed"] + found["llmbench"]["unsent_requests"] == 3000
    assert "INTERRUPTED" in output
    assert "Traceback" not in output


def test_the_run_time_bounds_the_sending(sim, tmp_path):
    completed = []
    while len(completed) < 3 and max(completed, default=0) <= 50:
        out = tmp_path / str(len(completed))
        done = locust(  # all of the plan would take 2000 s
            *("--base-url", sim, "--num-prompts", 200_000, "--request-rate", 100, "-t", "2s"),
            *(*SMALL, "--save-result", "--result-dir", out),
        )
        assert done.returncode == 0, done.stderr
        found = result(out)
        assert found["failed"] == 0
        assert found["completed"] < 300
        assert found["completed"] + found["llmbench"]["unsent_requests"] == 200_000
        completed.append(found["completed"])
    assert max(completed) > 50, completed  # usually 200


def test_without_an_end_as_many_are_sent_as_the_time_takes(sim, tmp_path):
    done = locust(
        *("--base-url", sim, "--num-prompts", "inf", "--duration", "2s", "--max-concurrency", 400),
        *(*SMALL, "--processes", 2, "--save-result", "--result-dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    found, stats = result(tmp_path), requests.get(f"{sim}/sim/stats", timeout=60).json()
    assert found["failed"] == 0
    assert stats["received"] == found["num_prompts"] + 1 > 400  # the ready check


def test_results_are_appended_as_lines(sim, tmp_path):
    for label in ("a", "b"):
        locust(
            *(
                "--base-url",
                sim,
                "--num-prompts",
                3,
                "--label",
                label,
                "--metadata",
                "tp=2",
                *SMALL,
            ),
            *("--append-result", "--result-dir", tmp_path, "--result-filename", "all.jsonl"),
        )
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == ["a", "b"]
    assert lines[0]["tp"] == "2"


def test_pytorch_format(sim, tmp_path):
    locust(
        *("--base-url", sim, "--num-prompts", 3, *SMALL, "--save-result", "--result-dir", tmp_path),
        env={"SAVE_TO_PYTORCH_BENCHMARK_FORMAT": "1"},
    )
    (path,) = tmp_path.glob("*.pytorch.json")
    records = json.loads(path.read_text())
    assert {r["metric"]["name"] for r in records} >= {"mean_ttft_ms", "p99_itl_ms"}


def test_ramp_up(sim, tmp_path):
    locust(
        *(
            "--base-url",
            sim,
            "--num-prompts",
            40,
            "--ramp-up-strategy",
            "linear",
            "--ramp-up-start-rps",
            10,
        ),
        *("--ramp-up-end-rps", 40, *SMALL, "--save-result", "--result-dir", tmp_path),
    )
    found = result(tmp_path)
    assert (found["completed"], found["ramp_up_strategy"], found["ramp_up_end_rps"]) == (
        40,
        "linear",
        40,
    )
    assert [e["rps"] for e in found["rps_change_events"]] == list(range(10, 41))


def test_warm_ups_and_the_ready_check_are_in_no_figure(sim, tmp_path):
    locust(
        "--base-url",
        sim,
        "--num-prompts",
        5,
        "--num-warmups",
        4,
        *SMALL,
        "--save-result",
        "--result-dir",
        tmp_path,
    )
    assert result(tmp_path)["completed"] == 5
    assert _received(sim) == 5 + 4 + 1


def _received(sim):
    return requests.get(f"{sim}/sim/stats?requests=0", timeout=60).json()["received"]


def test_no_secret_in_files_or_output(sim, tmp_path):
    done = locust(
        *(
            "--base-url",
            sim,
            "--num-prompts",
            3,
            "--header",
            "X-Key=topsecret1",
            *SMALL,
            "--save-result",
            "--save-detailed",
        ),
        *(
            "--result-dir",
            tmp_path,
            "--llm-html",
            tmp_path / "r.html",
            "--per-request",
            tmp_path / "r.csv",
        ),
        env={"OPENAI_API_KEY": "topsecret2"},
    )
    assert done.returncode == 0, done.stderr
    for path in tmp_path.iterdir():
        assert "topsecret" not in path.read_text()
    assert "topsecret" not in done.stdout + done.stderr


def test_a_locustfile_of_ones_own_in_a_closed_loop(tmp_path):
    path = tmp_path / "chat.py"
    path.write_text(
        "from locust import between, task\n"
        "from llmbench_locust import OpenAIChatUser\n\n\n"
        "class Chat(OpenAIChatUser):\n"
        "    wait_time = between(0.01, 0.05)\n\n"
        "    @task\n"
        "    def ask(self):\n"
        "        answer = self.chat('Name a river in Europe.', max_tokens=8)\n"
        "        assert answer.success and answer.text\n"
        "        self.chat(f'How long is it: {answer.text}', max_tokens=4)\n"
    )
    done = locust(
        *(
            "--sim",
            "-u",
            5,
            "-r",
            5,
            "-t",
            "3s",
            "--save-result",
            "--result-dir",
            tmp_path,
            "--goodput",
            "e2el:9000",
        ),
        locustfile=path,
    )
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert (found["backend"], found["failed"]) == ("openai-chat", 0)
    assert found["completed"] > 10
    assert found["mean_ttft_ms"] > 0
    assert found["total_input_tokens"] > 0
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_terminal_without_unicode_costs_characters_and_no_result(sim, tmp_path, encoding):
    argv = ("--base-url", sim, "--num-prompts", 5, "--result-dir", tmp_path / "Größe", *SMALL)
    result, page = ("--result-filename", "≤.json"), ("--llm-html", tmp_path / "Größe" / "ü.html")
    done = locust(*argv, "--save-result", *result, *page, env=encoding)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "Größe").iterdir()} == {"≤.json", "ü.html"}
    assert re.findall(r"^Wrote .*(\.\w+)$", done.stdout, re.MULTILINE) == [".json", ".html"]
