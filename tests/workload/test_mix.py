"""A mix: each part by its weight, in its own order, with its label; bad entries are named."""

import json
from collections import Counter

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.mix import interleave
from llmbench_locust.workload.sample import SampleRequest
from tests.workload.common import DATA, config, write_jsonl

CHAT = {
    "weight": 3,
    "label": "chat",
    "dataset-name": "sharegpt",
    "dataset-path": str(DATA / "inputs/sharegpt.json"),
}
LONG = {
    "weight": 1,
    "label": "long",
    "dataset-name": "random",
    "input-len": 50,
    "random-output-len": 7,
}


@pytest.fixture
def mix(tmp_path):
    def write(*entries, argv=()):
        (tmp_path / "mix.json").write_text(json.dumps(entries))
        return config("--mix", tmp_path / "mix.json", *argv)

    return write


def test_parts_come_by_weight_and_are_what_they_are_alone(mix, tokenizer):
    got = load_requests(mix(CHAT, LONG, argv=("--num-prompts", 400, "--seed", 5)), tokenizer)
    assert [s.request_id for s in got] == [f"g-{i}" for i in range(400)]
    counts = Counter(s.label for s in got)
    assert counts["long"] == pytest.approx(100, abs=4 * (400 * 0.25 * 0.75) ** 0.5)
    chat = [s for s in got if s.label == "chat"]
    alone = ("--dataset-name", "sharegpt", "--dataset-path", CHAT["dataset-path"], "--seed", 5)
    expected = load_requests(config(*alone, "--num-prompts", len(chat)), tokenizer)
    assert [(s.prompt, s.expected_output_len) for s in chat] == [
        (s.prompt, s.expected_output_len) for s in expected
    ]
    long = [s for s in got if s.label == "long"]
    assert {s.expected_output_len for s in long} == {7}
    assert {s.prompt_len for s in long} <= {
        49,
        50,
        51,
    }  # texts do not always encode to the wanted number
    # random goes on to its full length, as it does alone; the rest may stop
    assert {json.dumps(s.body_overrides) for s in long} == {'{"ignore_eos": true}'}
    assert {s.body_overrides for s in chat} == {None}


def test_the_seed_decides(mix, tokenizer):
    argv = ("--num-prompts", 30)
    one, again, other = (
        [
            (s.label, s.prompt)
            for s in load_requests(mix(CHAT, LONG, argv=(*argv, "--seed", seed)), tokenizer)
        ]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert [x[0] for x in one] != [x[0] for x in other]


def test_two_of_a_kind_differ(mix, tokenizer):
    got = load_requests(
        mix(LONG | {"label": "a"}, LONG | {"label": "b"}, argv=("--num-prompts", 20, "--seed", 1)),
        tokenizer,
    )
    a, b = ({s.prompt for s in got if s.label == label} for label in "ab")
    assert a
    assert b
    assert not a & b


def test_what_a_part_leaves_out_is_the_command_line_s(mix, tokenizer):
    part = {"dataset-name": "random", "--random_input_len": 9}
    got = load_requests(
        mix(part, argv=("--num-prompts", 3, "--random-output-len", 4, "--random-input-len", 5)),
        tokenizer,
    )
    assert {(s.label, s.prompt_len, s.expected_output_len) for s in got} == {("random", 9, 4)}
    part = {"dataset-name": "random", "input-len": 8}
    got = load_requests(mix(part, argv=("--num-prompts", 3, "--random-input-len", 5)), tokenizer)
    assert {s.prompt_len for s in got} == {8}


def test_conversations_keep_their_turns(mix, tokenizer, tmp_path):
    said = [
        {"from": w, "value": f"{w} says a rather long line of words"}
        for w in ("human", "gpt", "human", "gpt")
    ]
    (tmp_path / "c.json").write_text(json.dumps([{"conversations": said}] * 3))
    talk = {
        "dataset-name": "sharegpt",
        "dataset-path": str(tmp_path / "c.json"),
        "multi-turn": True,
    }
    parts = (talk | {"label": "a"}, LONG, talk | {"label": "b"})
    got = load_requests(mix(*parts, argv=("--num-prompts", 60)), tokenizer)
    turns = {}
    for s in got:
        if s.conversation is not None:
            turns.setdefault((s.label, s.conversation), []).append(s.turn)
    assert all(t == list(range(len(t))) for t in turns.values())
    numbers = [number for _, number in turns]
    assert len(set(numbers)) == len(numbers)  # no two parts share a number
    assert {s.conversation for s in got if s.label == "long"} == {None}


def test_traces_start_together(mix, tokenizer, tmp_path):
    def trace(name, start):
        rows = [{"timestamp": start + i, "input_length": 4, "output_length": 2} for i in range(50)]
        return {
            "label": name,
            "dataset-name": "timed_trace",
            "dataset-path": str(write_jsonl(tmp_path / name, rows)),
        }

    got = load_requests(mix(trace("a", 1000), trace("b", 5), argv=("--num-prompts", 40)), tokenizer)
    for label in "ab":
        times = [s.due_s for s in got if s.label == label]
        assert times == [float(i) for i in range(len(times))]
    with pytest.raises(
        ConfigError, match=r"entry 1 has recorded times, entry 2 has none; all or none"
    ):
        load_requests(mix(trace("a", 1), LONG, argv=("--num-prompts", 4)), tokenizer)
    still = trace("a", 1) | {"self-timed": False}
    assert {
        s.due_s for s in load_requests(mix(still, LONG, argv=("--num-prompts", 9)), tokenizer)
    } == {None}


def test_a_share_that_runs_out_leaves_its_places():
    shares = [
        [SampleRequest(f"{name}{i}", 1, 1) for i in range(n)] for name, n in (("a", 1), ("b", 3))
    ]
    got = interleave(shares, [0, 1, 0, 1, 0, 1], "p-")
    assert [(s.prompt, s.request_id) for s in got] == [
        ("a0", "p-0"),
        ("b0", "p-1"),
        ("b1", "p-2"),
        ("b2", "p-3"),
    ]


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([], r"is not a list of one or more entries"),
        ([3], r"entry 1 is not an object"),
        ([LONG, {"weight": 1}], r"entry 2 has no 'dataset-name'"),
        ([LONG | {"weight": 0}], r"entry 1: weight 0 is not allowed; use a number above 0"),
        ([LONG | {"weight": "x"}], r"entry 1: weight 'x'"),
        ([LONG | {"label": ""}], r"entry 1: label ''"),
        ([LONG, LONG], r"2 entries have the label 'long'; give each its own"),
        ([LONG | {"num-prompts": 3}], r"entry 1: 'num-prompts' is for the whole run"),
        ([LONG | {"request-rate": 3}], r"entry 1: 'request-rate' is not a flag of a dataset"),
        ([LONG | {"dataset-name": "none"}], r"entry 1: --dataset-name: 'none' is not known"),
        (
            [LONG | {"random-input-len": "x"}],
            r"entry 1: --random-input-len: 'x' is not a whole number",
        ),
        ([LONG | {"random-range-ratio": 2}], r"entry 1: --random-range-ratio: 2 is not in"),
        (
            [LONG, CHAT | {"dataset-path": "/none"}],
            r"entry 2: --dataset-path: file not found: '/none'",
        ),
        (
            [LONG | {"dataset-name": "random-mm"}],
            r"entry 1: --dataset-name: random-mm holds images",
        ),
        (
            [LONG | {"multi-turn": True, "dataset-name": "sonnet"}],
            r"entry 1: --multi-turn: --dataset-name sonnet has no conversations",
        ),
    ],
)
def test_a_bad_entry_is_named(mix, tokenizer, entries, line):
    with pytest.raises(ConfigError, match=r"--mix: '.*mix\.json'.*" + line) as raised:
        load_requests(mix(*entries, argv=("--num-prompts", 4)), tokenizer)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_json(tmp_path, tokenizer):
    (tmp_path / "m.json").write_text("[{")
    with pytest.raises(ConfigError, match=r"--mix: .*m\.json' is not JSON"):
        load_requests(config("--mix", tmp_path / "m.json"), tokenizer)
