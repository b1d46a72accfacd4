"""Made-up conversations, prompts that begin alike, and system prompts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.system_prompt import with_system_prompt
from tests.workload.common import config

TALK = ("--multi-turn", "--backend", "openai-chat", "--random-output-len", 5)


def common(a, b):
    """Characters that two prompts have in common at their front."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(1, 30), st.integers(0, 99))
def test_turns_are_within_their_bounds(tokenizer, low, more, prompts, seed):
    turns = ("--multi-turn-min-turns", low, "--multi-turn-max-turns", low + more)
    argv = (*TALK, *turns, "--random-input-len", 20, "--per-turn-input-len", 10, "--seed", seed)
    found = load_requests(config(*argv, "--num-prompts", prompts), tokenizer)
    assert len(found) == prompts
    ends = [a for a, b in pairwise([*found, None]) if b is None or not b.turn]
    assert all(low <= end.turn + 1 <= low + more for end in ends[:-1])
    for sample in found:
        assert sample.continues == sample.turn - 1
        assert sample.prompt_len == pytest.approx(10 if sample.turn else 20, abs=3)


def test_conversations_share_what_the_ratios_say(tokenizer):
    names = ("--multi-turn-prefix-global-ratio", "--multi-turn-prefix-conversation-ratio")
    argv = (*TALK, names[0], 0.25, names[1], 0.5, "--random-input-len", 400, "--num-sessions", 3)
    found = load_requests(config(*argv), tokenizer)
    assert [s.turn for s in found] == [0, 1, 2] * 3
    assert all(s.continues == -1 for s in found)
    whole = len(found[0].prompt)
    assert common(found[0].prompt, found[1].prompt) == pytest.approx(0.75 * whole, rel=0.15)
    assert common(found[0].prompt, found[3].prompt) == pytest.approx(0.25 * whole, rel=0.3)


def test_a_turn_needs_more_than_the_shared_parts(tokenizer):
    argv = (*TALK, "--multi-turn-prefix-global-ratio", 0.9, "--random-input-len", 100)
    with pytest.raises(ConfigError, match=r"--per-turn-input-len: \d+ tokens are too few"):
        load_requests(config(*argv, "--per-turn-input-len", 50), tokenizer)


def test_some_prompts_begin_alike(tokenizer):
    warm = ("--random-cache-hit-fraction", 0.5, "--random-cache-ratio", 0.5)
    found = load_requests(config("--num-prompts", 60, "--random-input-len", 200, *warm), tokenizer)
    likes = [sum(common(a.prompt, b.prompt) > 0.4 * len(a.prompt) for b in found) for a in found]
    assert 15 < max(likes) < 45


def system(samples, tokenizer, *argv):
    return with_system_prompt(samples, config(*argv), tokenizer)


def test_a_system_prompt_of_a_file_or_of_so_many_tokens(tokenizer, tmp_path):
    path = tmp_path / "system.txt"
    path.write_text("Be terse.")
    plain = [SampleRequest("Hello", 1, 1), SampleRequest("x", 1, 1, conversation=0, turn=1)]
    first, later = system(plain, tokenizer, "--system-prompt", path, "--backend", "openai-chat")
    assert [m["role"] for m in first.chat_messages] == ["system", "user"]
    assert first.chat_messages[0]["content"] == "Be terse."
    assert later == plain[1]  # its history has it
    text, _ = system(plain, tokenizer, "--system-prompt", path)
    assert text.prompt == "Be terse.\nHello"
    (ids,) = system([SampleRequest([5, 6], 2, 1)], tokenizer, "--system-prompt", 40)
    assert (len(ids.prompt), ids.prompt[-2:], ids.prompt_len) == (42, [5, 6], 42)
    with pytest.raises(ConfigError, match="--system-prompt: file not found"):
        system(plain, tokenizer, "--system-prompt", tmp_path / "none")
