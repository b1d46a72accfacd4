"""Each kind of workload from the command to the result file, against a real simulator that all runs
share.
"""

import json
import os

import datasets
import numpy as np
import pandas
import pytest
import soundfile
from PIL import Image

from llmbench_locust.simulator.launch import launch
from tests.commands import ROOT, SMALL, locust, result
from tests.workload.common import write_jsonl

SAID = [
    {"from": who, "value": f"{who} says a rather long line of words"}
    for _ in range(3)
    for who in ("human", "gpt")
]


@pytest.fixture(scope="module")
def sim():
    process = launch(["--port", "0"])
    yield process.url
    process.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "talk.json").write_text(json.dumps([{"conversations": SAID}] * 4))
    rows = [
        {"timestamp": 100 * i, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, i]}
        for i in range(11)
    ]
    write_jsonl(folder / "trace.jsonl", rows)
    lines = [f"2023-11-16 18:17:0{i // 10}.{i % 10}799600,{20 + i},5" for i in range(11)]
    (folder / "azure.csv").write_text(
        "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines, ""])
    )
    datasets.Dataset.from_dict({"q": [f"question {i}" for i in range(9)], "n": [3] * 9}).to_parquet(
        str(folder / "rows.parquet")
    )
    Image.new("RGB", (16, 16), (255, 0, 0)).save(folder / "a.png")
    write_jsonl(folder / "images.jsonl", [{"prompt": "what?", "image_files": ["a.png"]}])
    soundfile.write(folder / "a.wav", np.zeros(8000), 16000)
    write_jsonl(folder / "sounds.jsonl", [{"audio": "a.wav"}])
    talk = {
        "weight": 2,
        "label": "chat",
        "dataset-name": "sharegpt",
        "dataset-path": str(folder / "talk.json"),
        "multi-turn": True,
    }
    long = {"label": "long", "dataset-name": "random", "input-len": 100, "output-len": 5}
    (folder / "mix.json").write_text(json.dumps([talk, long]))
    return folder


def run(sim, out, *argv):
    flags = (
        "--base-url",
        sim,
        "--model",
        "m",
        "--tokenizer",
        "llmbench",
        "--disable-tqdm",
        "--ready-check-timeout-sec",
        0,
    )
    done = locust(*flags, "--save-result", "--save-detailed", "--result-dir", out, *argv)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return result(out)


CHAT = ("--backend", "openai-chat")
COMMANDS = {
    "random-mm": (
        *CHAT,
        "--random-input-len",
        9,
        "--random-output-len",
        4,
        "--random-mm-bucket-config",
        '{"(16, 16, 1)": 1}',
    ),
    "custom_image": (*CHAT, "--dataset-path", "images.jsonl", "--custom-output-len", 4),
    "custom_audio": (
        "--backend",
        "openai-audio",
        "--dataset-path",
        "sounds.jsonl",
        "--custom-output-len",
        4,
    ),
    "hf": ("--dataset-path", "rows.parquet", "--hf-prompt-column", "q", "--hf-output-column", "n"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dataset_by_its_command(name, sim, files, tmp_path):
    argv = [files / a if str(a).endswith((".jsonl", ".parquet")) else a for a in COMMANDS[name]]
    found = run(sim, tmp_path, "--dataset-name", name, "--num-prompts", 6, *argv)
    assert (found["completed"], found["num_prompts"]) == (6, 6)
    assert all(n > 0 for n in found["output_lens"])


@pytest.mark.parametrize(
    ("name", "file", "more", "span_s"),
    [
        (
            "timed_trace",
            "trace.jsonl",
            ("--timed-trace-sec-multiplier", 0.001, "--trace-speedup", 2),
            0.5,
        ),
        ("azure", "azure.csv", ("--self-timed",), 1.0),
    ],
)
def test_a_trace_is_sent_at_its_times(name, file, more, span_s, sim, files, tmp_path):
    found = run(sim, tmp_path, "--dataset-name", name, "--dataset-path", files / file, *more)
    assert found["completed"] == 11
    assert found["duration"] >= span_s  # the last one is due then


def test_conversations_are_played_with_their_answers(sim, files, tmp_path):
    talk = (
        "--dataset-name",
        "sharegpt",
        "--dataset-path",
        files / "talk.json",
        "--multi-turn",
        *CHAT,
    )
    found = run(
        sim,
        tmp_path,
        *talk,
        "--num-prompts",
        12,
        "--think-time",
        "0.05:0.1",
        "--max-concurrency",
        3,
    )
    assert found["completed"] == 12
    assert sorted(found["llmbench"]["by_turn"]) == ["0", "1", "2"]
    # The server's own count of each turn's input: the history and the answers in it make it longer.
    own = found["input_lens"]
    for first, second, third in zip(own[::3], own[1::3], own[2::3], strict=True):
        assert first < second - first  # an answer of its own is in there
        assert second < third


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_sessions_wait_for_their_responses_and_share_the_places(processes, sim, files, tmp_path):
    rows = [
        {"session": "a", "id": "plan", "input_tokens": 20, "output_tokens": 4},
        *(
            {"session": "a", "id": f"w{i}", "after": ["plan"], "history": None, "delay_s": 0.05 * i,
             "input_tokens": 30, "output_tokens": 4}
            for i in range(2)
        ),
        {"session": "a", "after": ["plan", "w0", "w1"], "input_tokens": 5, "output_tokens": 4},
    ]  # fmt: skip
    path = write_jsonl(files / "graph.jsonl", rows)
    flags = ("--dataset-name", "sessions", "--dataset-path", path, "--num-sessions", 6, *processes)
    table = tmp_path / "requests.csv"
    more = ("--concurrent-sessions", 2, "--per-request", table)
    found = run(sim, tmp_path, *flags, *more)
    assert (found["completed"], found["failed"]) == (24, 0)
    assert found["llmbench"]["sessions"]["completed"] == 6
    sent = pandas.read_csv(table)
    events = []
    for _, session in sent.groupby("conversation"):
        plan, first, second, last = session.sort_values("turn").itertuples()
        assert first.start_s >= plan.end_s
        assert second.start_s >= plan.end_s + 0.05
        assert last.start_s >= max(first.end_s, second.end_s)
        events += [(plan.start_s, 1), (last.end_s, -1)]
    live = np.cumsum([change for _, change in sorted(events)])
    assert max(live) == 2


def test_a_mix_has_figures_for_each_label(sim, files, tmp_path):
    found = run(sim, tmp_path, "--mix", files / "mix.json", "--num-prompts", 18, *CHAT)
    assert found["completed"] == 18
    assert sorted(found["llmbench"]["by_label"]) == ["chat", "long"]


def test_a_bad_file_ends_the_run_before_a_request(sim, files):
    (files / "bad.jsonl").write_text('{"timestamp": 1, "input_length": 3}\n')
    done = locust(
        *("--base-url", sim, "--model", "m", "--tokenizer", "llmbench", "--disable-tqdm"),
        *("--dataset-name", "timed_trace", "--dataset-path", files / "bad.jsonl"),
    )
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if "--dataset-path" in x]
    assert "bad.jsonl' line 1: 'output_length' is missing" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_what_starts_a_process_is_imported_by_the_main_thread(tmp_path):
    """gevent lets no other thread start one. trio does, and comes with transformers."""
    told = tmp_path / "told"
    (tmp_path / "trio.py").write_text(
        "import ctypes.util, os, pathlib, threading\n"
        "main = threading.get_native_id() == os.getpid()\n"
        f"pathlib.Path({str(told)!r}).write_text(f'{{main}} {{ctypes.util.find_library(\"c\")}}')\n"
    )
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = locust("--sim", *SMALL, "--num-prompts", 2, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert told.read_text().startswith("True lib")
