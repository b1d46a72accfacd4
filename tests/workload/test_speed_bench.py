"""speed_bench: the first message of each row, in the order of seed 0, as vLLM takes it."""

import json
import random

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.load import load_requests
from tests.workload.common import config, write_jsonl

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"question {i}"},
            {"role": "user", "content": "x"},
        ],
        "category": ("math", "qa")[i % 2],
    }
    for i in range(6)
]


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "qualitative.jsonl", ROWS)
    write_jsonl(tmp_path / "throughput_1k.jsonl", ROWS[:1])
    return tmp_path


def loaded(folder, tokenizer, *argv):
    argv = ("--dataset-name", "speed_bench", "--dataset-path", folder, "--num-prompts", -1, *argv)
    return load_requests(config(*argv), tokenizer)


def test_first_messages_in_the_order_of_seed_0(folder, tokenizer):
    wanted = [f"question {i}" for i in range(6)]
    random.Random(0).shuffle(wanted)
    samples = loaded(folder, tokenizer, "--seed", 7, "--skip-chat-template")
    assert [s.prompt for s in samples] == wanted
    assert {s.expected_output_len for s in samples} == {4096}
    assert [s.prompt_len for s in samples] == [len(tokenizer.encode(text)) for text in wanted]


def test_a_category_a_subset_and_a_length(folder, tokenizer):
    argv = ("--skip-chat-template", "--disable-shuffle", "--speed-bench-output-len", 9)
    samples = loaded(folder, tokenizer, *argv, "--speed-bench-category", "qa")
    assert [s.prompt for s in samples] == ["question 1", "question 3", "question 5"]
    assert samples[0].expected_output_len == 9
    assert len(loaded(folder, tokenizer, "--speed-bench-dataset-subset", "throughput_1k")) == 1


def test_more_prompts_than_rows_repeat_rows(folder, tokenizer):
    argv = ("--dataset-name", "speed_bench", "--dataset-path", folder, "--num-prompts", 8)
    samples = load_requests(config(*argv), tokenizer)
    assert [s.request_id for s in samples] == [f"g-{i}" for i in range(8)]
    assert {s.prompt for s in samples[6:]} <= {s.prompt for s in samples[:6]}
    assert len(load_requests(config(*argv, "--no-oversample"), tokenizer)) == 6


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--speed-bench-category", "art"), "--speed-bench-category: 'art' is not in the file"),
        (("--speed-bench-dataset-subset", "throughput_2k"), "throughput_2k.jsonl"),
    ],
)
def test_what_is_not_there_is_one_line(folder, tokenizer, argv, line):
    with pytest.raises(ConfigError, match=line):
        loaded(folder, tokenizer, *argv)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"turns": ["a"]}, "line 1 has no 'messages'"),
        (
            {"messages": [{"content": "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"}]},
            "line 1 is a placeholder; run the preparation script",
        ),
    ],
)
def test_a_file_that_was_not_prepared_is_refused(tmp_path, tokenizer, row, line):
    (tmp_path / "qualitative.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match=line):
        loaded(tmp_path, tokenizer)


def test_the_path_is_a_directory_and_only_such_datasets_take_every_row(folder):
    with pytest.raises(ConfigError, match=r"--dataset-path: cannot read .*; use a directory"):
        config("--dataset-name", "speed_bench", "--dataset-path", folder / "qualitative.jsonl")
    with pytest.raises(ConfigError, match="--num-prompts: -1 is too small; use 1 or more"):
        config("--num-prompts", -1)
