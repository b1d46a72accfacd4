"""Files with wrong content: one line that names the file, never another exception."""

import json

import pytest

from llmbench_locust.errors import ConfigError, SetupError
from llmbench_locust.run.loading import in_thread
from llmbench_locust.workload.load import load_requests
from tests.workload.common import config

CHAT = ("--backend", "openai-chat", "--num-prompts", "-1")
HALF = "\\ud83d"  # JSON's escape of half a character
QUESTION = {"from": "human", "value": "What is it that you want?"}
TRACE = {"timestamp": 0, "input_length": 8, "output_length": 2}
BURST = "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,5,3\n2,GPT-4,"
SAID = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
CASES = {
    "deep": (["custom"], "[" * 200_000, "line 1 is not JSON"),
    "deep list": (["sharegpt"], "[" * 200_000, "is not JSON"),
    "half a character": (
        ["custom"],
        f'{{"prompt": "so {HALF}"}}',
        r"so \\ud83d' ends in half of a character",
    ),
    "half in an answer": (
        ["sharegpt", "--multi-turn", "--backend", "openai-chat"],
        json.dumps([{"conversations": [QUESTION, {"from": "gpt", "value": "H"}]}]).replace(
            "H", HALF
        ),
        "ends in half of a character",
    ),
    "too many tokens": (
        ["timed_trace"],
        json.dumps(TRACE | {"input_length": 10**30}),
        "line 1: 'input_length' is 10{30}; it must be a whole number from 1 to 100000000",
    ),
    "too late": (["timed_trace"], json.dumps(TRACE | {"timestamp": 10**400}), "'timestamp' is 10*"),
    "a delay beyond all numbers": (
        ["mooncake", *CHAT],
        json.dumps(TRACE | {"session_id": "a", "delay": 10**400}),
        "'delay' is 10*",
    ),
    "too many tokens of a session": (
        ["sessions", *CHAT],
        json.dumps({"session": "a", "input_tokens": 1e9, "output_tokens": 1}),
        "'input_tokens' is 1000000000.0, which is too large",
    ),
    "azure": (
        ["azure"],
        "TIMESTAMP,ContextTokens,GeneratedTokens\n1,1e308,2\n",
        "line 2: 'ContextTokens' is '1e308'; it must be a whole number from 0 to 100000000",
    ),
    "burstgpt": (["burstgpt"], f"{BURST}five,3\n", "line 3: 'Request tokens' is 'five'"),
    "burstgpt, nothing": (["burstgpt"], f"{BURST},3\n", "line 3: 'Request tokens' is 'nan'"),
    "no conversation": (["vllm_multi_turn", *CHAT], "[]", "is not a list of objects"),
    "a path that is too long": (
        ["custom_image", "--backend", "openai-chat"],
        json.dumps({"prompt": "a", "image_files": ["iVBO" * 2000]}),
        "has 8000 characters, too many for a path; base64 data must begin with data:image/png",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_content_is_one_line_that_names_the_file(case, tmp_path, tokenizer):
    words, text, expected = CASES[case]
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    given = config("--num-prompts", 2, "--dataset-path", path, "--dataset-name", *words)
    with pytest.raises(ConfigError, match=expected) as error:
        load_requests(given, tokenizer)
    assert str(error.value).startswith("--dataset-path: ")
    assert "\n" not in str(error.value)


def test_tool_calls_that_are_no_list_are_sent_as_they_are(tmp_path, tokenizer):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"messages": [SAID[0] | {"tool_calls": 3}, SAID[1]]}))
    given = config("--dataset-path", path, "--dataset-name", "messages", *CHAT)
    (sample,) = load_requests(given, tokenizer)
    assert sample.chat_messages[0]["tool_calls"] == 3


def test_a_long_value_is_cut_in_the_error(tmp_path, tokenizer):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(TRACE | {"input_length": "9" * 100_000}))
    with pytest.raises(ConfigError, match=r"… 9+'; it must be a whole number") as error:
        load_requests(config("--dataset-name", "timed_trace", "--dataset-path", path), tokenizer)
    assert len(str(error.value)) < 1000


def test_what_does_not_fit_into_memory_is_one_line(tokenizer):
    def too_much():
        raise MemoryError("8 EiB")

    with pytest.raises(SetupError, match="the workload does not fit into memory: 8 EiB"):
        in_thread(too_much)
    given = config("--system-prompt", 10**20, "--num-prompts", 1)
    with pytest.raises(ConfigError, match=r"--system-prompt: 10+ is too large"):
        load_requests(given, tokenizer)


def test_a_device_is_not_read():
    with pytest.raises(ConfigError, match="cannot read '/dev/zero'; use a file"):
        config("--dataset-name", "sharegpt", "--dataset-path", "/dev/zero")


@pytest.mark.parametrize("flag", ["--input-len", "--random-prefix-len", "--output-len"])
def test_lengths_beyond_all_memory_are_refused(flag):
    with pytest.raises(ConfigError, match=r"1000000000000000 is too large; use [01] to 100000000"):
        config(flag, 10**15)
