"""Conversations: their turns in order, each with its own text, and a history that grows with the
real answers.
"""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload import multi_turn
from llmbench_locust.workload.sample import SampleRequest
from tests.workload.common import config

WORDS = [
    "the",
    "model",
    "reads",
    "a",
    "long",
    "line",
    "and",
    "writes",
    "a",
    "short",
    "answer",
    "to",
    "the",
    "user",
    "who",
    "waits",
    "for",
    "it",
]


def text(seed, n=12):
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def conversation(seed, pairs, first="human"):
    turns = []
    for i in range(pairs):
        turns += [
            {"from": first, "value": text(f"{seed} q {i}")},
            {"from": "gpt", "value": text(f"{seed} a {i}")},
        ]
    return turns


@pytest.fixture
def sharegpt(tmp_path):
    path = tmp_path / "sharegpt.json"

    def write(*conversations):
        path.write_text(
            json.dumps([{"id": str(i), "conversations": c} for i, c in enumerate(conversations)])
        )
        return path

    return write


def flags(path, *more):
    return config("--dataset-name", "sharegpt", "--multi-turn", "--dataset-path", path, *more)


def test_turns_come_in_order_with_their_own_text_only(sharegpt, tokenizer):
    path = sharegpt(conversation("x", 3), conversation("y", 2))
    chat = flags(path, "--backend", "openai-chat", "--disable-shuffle", "--num-prompts", 5)
    got = multi_turn.load(chat, tokenizer)
    assert [(s.conversation, s.turn) for s in got] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert [s.prompt for s in got] == [
        text(f"{c} q {i}") for c, i in [("x", 0), ("x", 1), ("x", 2), ("y", 0), ("y", 1)]
    ]
    assert got[1].expected_output_len == len(tokenizer.encode(text("x a 1")))
    assert got[1].prompt_len == len(tokenizer.encode(text("x q 1")))
    assert [s.request_id for s in got] == [f"g-{i}" for i in range(5)]


def test_chat_history_holds_the_answers_that_came(sharegpt, tokenizer):
    chat = flags(sharegpt(conversation("x", 3)), "--backend", "openai-chat", "--num-prompts", 3)
    first, second, third = multi_turn.load(chat, tokenizer)
    sent = multi_turn.next_request(first, "A one", second, tokenizer, True)
    last = multi_turn.next_request(sent, "A two", third, None, True)
    assert last.chat_messages == [
        {"role": "user", "content": text("x q 0")},
        {"role": "assistant", "content": "A one"},
        {"role": "user", "content": text("x q 1")},
        {"role": "assistant", "content": "A two"},
        {"role": "user", "content": text("x q 2")},
    ]
    one = len(tokenizer.encode("A one", add_special_tokens=False))
    assert sent.prompt_len == first.prompt_len + one + second.prompt_len
    assert last.prompt_len == sent.prompt_len + second.expected_output_len + third.prompt_len
    assert (last.request_id, last.turn, last.expected_output_len) == (
        "g-2",
        2,
        third.expected_output_len,
    )
    assert third.chat_messages is None  # the sample of the plan stays as it was


def test_text_history_is_what_the_chat_template_makes_of_the_whole(sharegpt, tokenizer):
    plain = flags(sharegpt(conversation("x", 3)), "--num-prompts", 3)
    first, second, third = multi_turn.load(plain, tokenizer)
    sent = multi_turn.next_request(first, "A one", second, None, False)
    last = multi_turn.next_request(sent, "A two", third, None, False)
    whole = [
        ("user", text("x q 0")),
        ("assistant", "A one"),
        ("user", text("x q 1")),
        ("assistant", "A two"),
    ]
    whole.append(("user", text("x q 2")))
    messages = [{"role": role, "content": content} for role, content in whole]
    assert last.prompt == tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert last.chat_messages is None


def test_without_a_template_lines_are_joined(sharegpt, tokenizer):
    plain = flags(sharegpt(conversation("x", 2)), "--num-prompts", 2, "--skip-chat-template")
    first, second = multi_turn.load(plain, tokenizer)
    assert first.prompt == text("x q 0")
    sent = multi_turn.next_request(first, " yes", second, None, False)
    assert sent.prompt == f"{text('x q 0')} yes\n{text('x q 1')}"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_the_history_starts_with_what_was_sent_before(answers):
    sent = SampleRequest("Q0", 2, 3, turn=0)
    for i, answer in enumerate(answers, 1):
        turn = SampleRequest(f"\nQ{i}", 2, 3, turn=i)
        by_text, by_chat = (
            multi_turn.next_request(sent, answer, turn, None, chat) for chat in (False, True)
        )
        assert by_text.prompt == sent.prompt + answer + turn.prompt
        assert by_chat.chat_messages[-2:] == [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": turn.prompt},
        ]
        sent = by_text
    assert sent.prompt_len == 2 + 5 * len(answers)


def test_the_order_of_conversations_is_that_of_the_seed(sharegpt, tokenizer):
    path = sharegpt(*(conversation(f"c{i}", 2) for i in range(9)))
    order = list(range(9))
    random.Random(7).shuffle(order)
    got = multi_turn.load(
        flags(path, "--seed", 7, "--num-prompts", 18, "--backend", "openai-chat"), tokenizer
    )
    assert [s.prompt for s in got if s.turn == 0] == [text(f"c{i} q 0") for i in order]


def test_num_prompts_counts_requests_and_conversations_repeat(sharegpt, tokenizer):
    path = sharegpt(conversation("x", 2), conversation("y", 3))
    got = multi_turn.load(flags(path, "--num-prompts", 12), tokenizer)
    assert len(got) == 12
    assert len({s.request_id for s in got}) == 12
    turns = {}
    for s in got:
        turns.setdefault(s.conversation, []).append(s.turn)
    assert all(t == list(range(len(t))) for t in turns.values())
    assert len(multi_turn.load(flags(path, "--num-prompts", 12, "--no-oversample"), tokenizer)) == 5


def test_a_conversation_ends_before_what_does_not_fit(sharegpt, tokenizer):
    long = conversation("x", 3)
    long[2]["value"] = " ".join(WORDS * 70)
    assert 1024 < len(tokenizer.encode(long[2]["value"])) < 2000
    twice = conversation("y", 3)
    twice[2]["from"] = "gpt"
    late = [{"from": "gpt", "value": "hello"}, *conversation("z", 1)]
    got = multi_turn.load(
        flags(
            sharegpt(long, twice, late),
            "--disable-shuffle",
            "--no-oversample",
            "--skip-chat-template",
        ),
        tokenizer,
    )
    assert [(s.turn, s.prompt) for s in got] == [
        (0, text("x q 0")),
        (0, text("y q 0")),
        (0, text("z q 0")),
    ]


def test_nothing_left_is_one_line(sharegpt, tokenizer):
    with pytest.raises(ConfigError, match=r"--dataset-path: no conversation of .* is left"):
        multi_turn.load(
            flags(sharegpt([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}])),
            tokenizer,
        )


def test_think_times_are_constant_or_between_the_bounds(sharegpt):
    path = sharegpt()
    assert multi_turn.think_times(flags(path, "--think-time", "1.5"), 3) == [1.5, 1.5, 1.5]
    got = multi_turn.think_times(flags(path, "--think-time", "1:3", "--seed", 5), 1000)
    assert got == multi_turn.think_times(flags(path, "--think-time", "1:3", "--seed", 5), 1000)
    assert 1 <= min(got) < 1.05
    assert 2.95 < max(got) <= 3
    assert sum(got) / 1000 == pytest.approx(2, abs=0.1)
