"""The text datasets beyond the gold vectors: laws that hold for any seed, and one clear line for
bad input.
"""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.exact import RETRIES, exact_prompts
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.tokenizers import DEFAULT_TOKENIZER, load_tokenizer

from .test_gold import DATA, config

TOKENIZER = load_tokenizer(config("random"))


def one_by_one(tokenizer, sequences, targets, draw):
    """vLLM's way, prompt after prompt, each until it fits: what batching must not change."""
    found = []
    for ids, target in zip(sequences, targets, strict=True):
        for left in range(RETRIES, -1, -1):
            text = tokenizer.decode(ids)
            ids = tokenizer.encode(text, add_special_tokens=False)
            if len(ids) == target or left == 0:
                break
            ids = ids + draw(target - len(ids)) if len(ids) < target else ids[:target]
        found.append((text, ids))
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 40), min_size=1, max_size=25))
def test_rounds_for_all_give_what_one_after_the_other_gives(seed, targets):
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(0, TOKENIZER.vocab_size, size=t).tolist() for t in targets]

    def drawer():
        own = np.random.default_rng(seed + 1)
        return lambda k: own.integers(0, TOKENIZER.vocab_size, size=k).tolist()

    assert exact_prompts(TOKENIZER, sequences, targets, drawer()) == one_by_one(
        TOKENIZER, sequences, targets, drawer()
    )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    ratio=st.sampled_from([0.0, 0.3, 0.9]),
    prefix=st.sampled_from([0, 7]),
)
def test_random_prompts_have_the_length_they_say(seed, ratio, prefix):
    made = config(
        "random",
        seed=seed,
        num_prompts=12,
        random_input_len=20,
        random_output_len=10,
        random_range_ratio=(ratio, ratio),
        random_prefix_len=prefix,
    )
    requests = load_requests(made, TOKENIZER)
    assert [r.request_id for r in requests] == [f"g-{i}" for i in range(12)]
    for request in requests:
        assert len(TOKENIZER.encode(request.prompt, add_special_tokens=False)) == request.prompt_len
        assert 1 <= request.expected_output_len <= 19
    assert requests == load_requests(made, TOKENIZER)


def test_the_tokenizer_that_ships_with_the_package():
    assert sum(p.stat().st_size for p in DEFAULT_TOKENIZER.iterdir()) < 300_000
    own = load_tokenizer(config("random", tokenizer=None, model=None))
    for text in ("The river is long.", "naïve Σ 漢字 🙂\n\ttab", ""):
        assert own.decode(own.encode(text, add_special_tokens=False)) == text
    rendered = own.apply_chat_template([{"role": "user", "content": "hi"}])
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_local_tokenizer_means_what_transformers_means():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(DATA / "tokenizer"))
    assert TOKENIZER.vocab_size == theirs.vocab_size
    assert sorted(TOKENIZER.all_special_ids) == sorted(theirs.all_special_ids)
    assert TOKENIZER.num_special_tokens_to_add() == theirs.num_special_tokens_to_add()
    rng = random.Random(5)
    for _ in range(50):
        ids = [rng.randrange(TOKENIZER.vocab_size) for _ in range(30)]
        text = TOKENIZER.decode(ids)
        assert text == theirs.decode(ids)
        assert TOKENIZER.encode(text) == theirs.encode(text)
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "more"},
    ]
    assert TOKENIZER.apply_chat_template(messages) == theirs.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )


def write(path, text):
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return str(path)


BAD = [
    ("sharegpt", "x.json", "{", "is not JSON"),
    ("sharegpt", "x.json", {}, "is not a list of conversations"),
    (
        "sharegpt",
        "x.json",
        [{"conversations": [{"value": "a"}]}],
        "has no conversation of two turns",
    ),
    (
        "sharegpt",
        "x.json",
        [{"conversations": [{"value": "a"}, {"value": "b"}]}],
        "has no conversation of a usable length",
    ),
    ("custom", "x.txt", "a", "is not a .jsonl file"),
    ("custom", "x.jsonl", '{"prompt": "a"}\n{"text": "b"}\n', "line 2 has no string 'prompt'"),
    ("custom", "x.jsonl", '{"prompt": "a"}\nnope\n', "line 2"),
    ("spec_bench", "x.jsonl", '{"prompt": "a"}\n', "line 1 has no list of strings 'turns'"),
    (
        "burstgpt",
        "x.csv",
        "Model,Request tokens\nGPT-4,3\n",
        "has no BurstGPT column 'Response tokens'",
    ),
    (
        "burstgpt",
        "x.csv",
        "Model,Request tokens,Response tokens\nChatGPT,3,4\n",
        "has no row of GPT-4",
    ),
]


@pytest.mark.parametrize(("dataset", "name", "content", "line"), BAD)
def test_a_bad_file_is_one_line(dataset, name, content, line, tmp_path):
    made = config(dataset, dataset_path=write(tmp_path / name, content))
    with pytest.raises(ConfigError) as caught:
        load_requests(made, TOKENIZER)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_lengths_are_one_line():
    for values, line in [
        ({"dataset_name": "sonnet", "sonnet_input_len": 5}, "--sonnet-input-len: 5 is too small"),
        (
            {"dataset_name": "sonnet", "sonnet_input_len": 300, "sonnet_prefix_len": 400},
            "--sonnet-prefix-len: 400 is more",
        ),
        (
            {"dataset_name": "random", "random_input_len": 0},
            "--random-input-len: 0 allows empty prompts",
        ),
        ({"dataset_name": "prefix_repetition", "num_prompts": 3}, "--num-prompts: 3 is less than"),
        (
            {"dataset_name": "random", "random_batch_size": 2},
            "--random-batch-size: 2 is for pooling backends",
        ),
        (
            {
                "dataset_name": "spec_bench",
                "dataset_path": str(DATA / "inputs/spec_bench.jsonl"),
                "spec_bench_category": "x",
            },
            "x",
        ),
    ]:
        name = values.pop("dataset_name")
        with pytest.raises(ConfigError, match=line):
            load_requests(config(name, **values), TOKENIZER)


def test_sonnet_needs_no_file_of_ones_own():
    requests = load_requests(config("sonnet", num_prompts=5), TOKENIZER)
    assert len(requests) == 5
    shared = requests[0].prompt[:200]
    assert all(r.prompt.startswith(shared) and r.prompt_len <= 550 for r in requests)
    chat = load_requests(
        config("sonnet", num_prompts=2, backend_info=SimpleNamespace(chat=True, name="x")),
        TOKENIZER,
    )
    assert chat[0].prompt.startswith("Pick as many lines")


def test_too_few_are_repeated_unless_told_not_to(tmp_path):
    path = write(
        tmp_path / "x.jsonl",
        "".join(json.dumps({"prompt": f"prompt number {i}"}) + "\n" for i in range(3)),
    )
    more = load_requests(
        config("custom", dataset_path=path, num_prompts=8, skip_chat_template=True), TOKENIZER
    )
    assert len(more) == 8
    assert len({r.request_id for r in more}) == 8
    assert len({r.prompt for r in more}) == 3
    few = load_requests(
        config(
            "custom", dataset_path=path, num_prompts=8, skip_chat_template=True, no_oversample=True
        ),
        TOKENIZER,
    )
    assert len(few) == 3
    kept = load_requests(
        config(
            "custom",
            dataset_path=path,
            num_prompts=3,
            skip_chat_template=True,
            disable_shuffle=True,
        ),
        TOKENIZER,
    )
    assert [r.prompt for r in kept] == [f"prompt number {i}" for i in range(3)]


def test_custom_takes_the_output_length_of_each_line(tmp_path):
    path = write(
        tmp_path / "x.jsonl",
        '{"prompt": "a", "output_tokens": 7}\n{"prompt": "b", "output_tokens": 9}\n',
    )
    made = config(
        "custom", dataset_path=path, num_prompts=2, custom_output_len=-1, disable_shuffle=True
    )
    assert [r.expected_output_len for r in load_requests(made, TOKENIZER)] == [7, 9]
    lacking = write(tmp_path / "y.jsonl", '{"prompt": "a"}\n')
    with pytest.raises(ConfigError, match="line 1 needs a whole number"):
        load_requests(config("custom", dataset_path=lacking, custom_output_len=-1), TOKENIZER)


@pytest.mark.parametrize("value", ["12", 12.0, 12])
def test_an_output_length_may_be_written_in_any_way_that_vllm_reads(value, tmp_path):
    path = write(tmp_path / "x.jsonl", json.dumps({"prompt": "a", "output_tokens": value}) + "\n")
    [request] = load_requests(
        config("custom", dataset_path=path, num_prompts=1, custom_output_len=-1), TOKENIZER
    )
    assert request.expected_output_len == 12


@pytest.mark.parametrize("value", [None, True, 0, -3, "many", [], 1e400])
def test_an_output_length_that_is_none_is_one_line(value, tmp_path):
    path = write(tmp_path / "x.jsonl", json.dumps({"prompt": "a", "output_tokens": value}) + "\n")
    with pytest.raises(ConfigError, match="line 1 needs a whole number"):
        load_requests(
            config("custom", dataset_path=path, num_prompts=1, custom_output_len=-1), TOKENIZER
        )


def test_spec_bench_is_always_in_the_template():
    """As in vLLM, whose command does not pass --skip-chat-template on to it."""
    path = str(DATA / "inputs/spec_bench.jsonl")
    [request] = load_requests(
        config("spec_bench", dataset_path=path, num_prompts=1, skip_chat_template=True), TOKENIZER
    )
    assert request.prompt.startswith("<|im_start|>user\n")


def test_sharegpt_builds_the_chat_message_when_told_to():
    values = {"dataset_path": str(DATA / "inputs/sharegpt.json"), "num_prompts": 2}
    plain = load_requests(config("sharegpt", **values), TOKENIZER)
    chat = load_requests(config("sharegpt", enable_multimodal_chat=True, **values), TOKENIZER)
    assert [r.prompt for r in chat] == [
        [{"role": "user", "content": [{"text": r.prompt, "type": "text"}]}] for r in plain
    ]
    assert [(r.prompt_len, r.chat_messages) for r in chat] == [
        (p.prompt_len, c.prompt) for p, c in zip(plain, chat, strict=True)
    ]


def test_lines_of_a_poem_end_at_newlines_alone(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("one\u2028two\x0cthree\r\n", newline="")
    values = {
        "sonnet_input_len": 60,
        "sonnet_prefix_len": 30,
        "disable_shuffle": True,
        "num_prompts": 1,
    }
    [request] = load_requests(config("sonnet", dataset_path=str(path), **values), TOKENIZER)
    lines = request.prompt.split("lines:\n")[1].split("<|im_end|>")[0]
    assert set(lines.split("\n")) <= {"one\u2028two\x0cthree", ""}


@pytest.mark.parametrize("mode", ["deepseek_v32", "nonsense"])
def test_a_mode_of_vllms_own_says_what_it_needs(mode):
    with pytest.raises(ConfigError, match=f"--tokenizer-mode: '{mode}'"):
        load_tokenizer(config("random", tokenizer=str(DATA / "tokenizer"), tokenizer_mode=mode))
