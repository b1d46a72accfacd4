"""The formats of sessions: what waits for what, for how long, with which history."""

import json
from collections import Counter

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.load import load_requests
from tests.workload.common import config, write_jsonl

CHAT = ("--backend", "openai-chat")


def loaded(tmp_path, tokenizer, name, rows, *more):
    path = write_jsonl(tmp_path / "file.jsonl", rows)
    flags = ("--dataset-name", name, "--dataset-path", path, "--num-prompts", -1)
    return load_requests(config(*flags, *more), tokenizer)


def said(sample):
    return [m["content"] for m in sample.chat_messages]


def user(text):
    return [{"role": "user", "content": text}]


DIAMOND = [
    {"session": "a", "id": "plan", "messages": user("plan"), "output_tokens": 8},
    {"session": "b", "messages": user("alone"), "output_tokens": 3},
    {"session": "a", "after": ["w"], "history": "plan", "messages": user("sum"),
     "output_tokens": 2},
    {"session": "a", "id": "w", "after": ["plan"], "history": None, "delay_s": 0.5,
     "messages": user("work"), "output_tokens": 4, "extra": {"top_p": 0.5}},
]  # fmt: skip


def test_a_graph_in_any_order_of_its_lines(tmp_path, tokenizer):
    plan, work, total, alone = loaded(tmp_path, tokenizer, "sessions", DIAMOND, *CHAT)
    assert [s.conversation for s in (plan, work, total, alone)] == [0, 0, 0, 1]
    assert [list(s.waits_for) for s in (plan, work, total)] == [[], [0], [1]]
    assert [s.continues for s in (plan, work, total)] == [-1, -1, 0]
    assert (work.delay_s, work.body_overrides, work.expected_output_len) == (0.5, {"top_p": 0.5}, 4)
    assert total.delay_s is None


def test_sessions_are_counted_cut_and_repeated(tmp_path, tokenizer):
    flags = ("sessions", DIAMOND, *CHAT)
    five = loaded(tmp_path, tokenizer, *flags, "--num-sessions", 5)
    assert len({s.conversation for s in five}) == 5
    assert len({s.request_id for s in five}) == len(five)
    assert len(loaded(tmp_path, tokenizer, *flags, "--num-prompts", 2)) == 2
    assert len(loaded(tmp_path, tokenizer, *flags, "--num-prompts", 9, "--no-oversample")) == 4


TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        *user("One?"),
        {"role": "assistant", "content": "The first answer"},
        *user("Two?"),
        {"role": "assistant", "content": "ok"},
        *user("Three?"),
    ],
    "delays": [1.5, 40],
}


def test_recorded_conversations_with_real_or_recorded_answers(tmp_path, tokenizer):
    real = loaded(tmp_path, tokenizer, "messages", [TALK], *CHAT, "--max-delay", 2)
    assert [said(s) for s in real] == [["Be brief.", "One?"], ["Two?"], ["Three?"]]
    assert [s.delay_s for s in real] == [None, 1.5, 2]
    assert [s.continues for s in real] == [-1, 0, 1]
    answer = len(tokenizer.encode("The first answer"))
    assert real[0].expected_output_len == answer
    recorded = loaded(tmp_path, tokenizer, "messages", [TALK], *CHAT, "--history", "recorded")
    assert said(recorded[2])[2] == "The first answer"
    assert [s.continues for s in recorded] == [-1, -1, -1]


def test_a_conversation_with_tool_calls_is_sent_as_recorded(tmp_path, tokenizer):
    call = {"id": "1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "ls", "parameters": {}}}]
    messages = [*user("List"), {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "1", "content": "a.txt"}]  # fmt: skip
    rows = [{"messages": messages, "tools": tools}]
    _, second = loaded(tmp_path, tokenizer, "messages", rows, *CHAT)
    assert second.chat_messages == messages
    assert second.body_overrides == {"tools": tools}


def test_vllms_multi_turn_file(tmp_path, tokenizer):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([{"id": "x", "messages": TALK["messages"]}]))
    flags = ("--dataset-name", "vllm_multi_turn", "--dataset-path", path, *CHAT)
    found = load_requests(config(*flags, "--num-sessions", 2, "--output-len", 7), tokenizer)
    assert [s.turn for s in found] == [0, 1, 2, 0, 1, 2]
    assert {s.expected_output_len for s in found} == {7}


MOONCAKE = [
    {"session_id": "a", "timestamp": 1000, "input_length": 1024, "output_length": 60,
     "hash_ids": [1, 2]},
    {"timestamp": 400, "input_length": 600, "output_length": 5, "hash_ids": [1, 3]},
    {"session_id": "a", "delay": 1500, "input_length": 200, "output_length": 30},
]  # fmt: skip


def test_mooncake_with_sessions(tmp_path, tokenizer):
    found = loaded(tmp_path, tokenizer, "mooncake", MOONCAKE, "--trace-speedup", 3)
    assert [(s.conversation, s.turn) for s in found] == [(0, 0), (1, 0), (1, 1)]
    assert [s.due_s for s in found] == [0.4, 1.0, None]
    assert found[2].delay_s == 0.5
    assert [s.expected_output_len for s in found] == [5, 60, 30]
    shared = 0
    while found[0].prompt[shared] == found[1].prompt[shared]:
        shared += 1
    # The first block of 512 tokens is the same text, and nothing after it.
    block = tokenizer.encode(found[0].prompt[:shared], add_special_tokens=False)
    assert 400 < len(block) < 600


WEKA = {
    "id": "s1", "models": ["big"], "block_size": 64, "hash_id_scope": "local",
    "requests": [
        {"t": 0.0, "type": "s", "in": 128, "out": 8, "hash_ids": [1, 2], "api_time": 2.5},
        {"t": 3.0, "type": "subagent", "duration_ms": 9000, "requests": [
            {"t": 3.1, "type": "n", "in": 64, "out": 4, "hash_ids": [20], "api_time": 1.0},
            {"t": 5.1, "type": "n", "in": 90, "out": 0, "hash_ids": [20], "api_time": 1.0}]},
        {"t": 4.0, "type": "n", "in": 200, "out": 6, "hash_ids": [1, 2, 3], "api_time": 2.0},
        {"t": 14.0, "type": "n", "in": 256, "out": 9, "hash_ids": [1, 2, 3, 4], "think_time": 9,
         "api_time": None},
    ],
}  # fmt: skip


def test_weka_sessions_spawn_and_join_sub_agents(tmp_path, tokenizer):
    found = loaded(tmp_path, tokenizer, "weka", [WEKA])
    assert Counter((s.prompt_len, s.expected_output_len) for s in found) == Counter(
        [(128, 8), (64, 4), (90, 1), (200, 6), (256, 9)]
    )
    root, spawned, inner, parallel, joined = found
    # The call at 4 s does not wait for the sub-agent, which ends at 12 s; that at 14 s does.
    waits = [list(s.waits_for) for s in (root, spawned, inner, parallel, joined)]
    assert waits == [[], [0], [1], [0], [2, 3]]
    delays = [s.delay_s for s in (root, spawned, inner, parallel, joined)]
    assert delays == pytest.approx([0, 0.6, 1.0, 1.5, 9])
    assert joined.prompt[:128] == root.prompt
    assert joined.prompt[:192] == parallel.prompt[:192]
    assert spawned.prompt == inner.prompt[:64]
    two = loaded(tmp_path, tokenizer, "weka", [WEKA, WEKA])
    assert two[0].prompt != two[5].prompt  # ids mean something within one session only


MESSAGES = ("--dataset-name", "messages")


def line(**more):
    return {"session": "a", "messages": user("x"), "output_tokens": 1, **more}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("sessions", [line(id="p", after=["q"]), line(id="q", after=["p"])],
         "line 1: its session has requests that wait in a cycle"),
        ("sessions", [line(), line(after=["x"])], "line 2: its session has no request 'x'"),
        ("sessions", [line(id=1), line(id=1)], "line 2: the id '1' is used twice"),
        ("sessions", [line(), line(delay_s=-1)],
         "line 2: 'delay_s' is -1; it must be a number, 0 or more"),
        ("sessions", [line(id="r"), line(id="s", after=["r"]), line(after=["r"], history="s")],
         "line 3: 'history' names a request that is"),
        ("sessions", [line(id="r", history="r")], "line 1: 'history' names a request that is"),
        ("sessions", [line(output_tokens=10**20)], "which is too large"),
        ("sessions", [{"messages": user("x")}], "line 1: has no 'session'"),
        ("sessions", [{"session": "a"}], "line 1: 'input_tokens' is missing"),
        ("mooncake", [{**MOONCAKE[1], "input_length": 512}],
         "line 1: 2 hash ids of 512 tokens do not fit 512 tokens"),
        ("mooncake", [{"input_length": 5, "output_length": 1}], "line 1: 'timestamp' is missing"),
        ("mooncake", [MOONCAKE[0], {**MOONCAKE[2], "delay": -5}], "line 2: 'delay' is -5"),
        ("messages", [{"messages": [{"content": "x"}]}],
         "line 1: a message in 'messages' has no 'role'"),
        ("messages", [{"messages": [{"role": "assistant", "content": "x"}]}],
         "line 1: begins with a response"),
        ("messages", [{"messages": [*TALK["messages"]], "delays": [-3]}], "line 1: 'delays' is -3"),
        ("sessions", [line(), line(delay_s=float("inf"))], "line 2: 'delay_s' is inf"),
        ("weka", [{**WEKA, "block_size": 0}], "line 1: 'block_size' is 0"),
        ("weka", [{**WEKA, "requests": 3}], "line 1: has no 'requests' list"),
        ("weka", [{**WEKA, "requests": [3]}], "line 1: 'requests' is not a list in the form"),
        ("weka", [{**WEKA, "requests": [{**WEKA["requests"][0], "type": "x"}]}],
         "line 1: call 1: 'type' is 'x'; it must be n, s, subagent"),
        ("weka", [{**WEKA, "hash_id_scope": "global"}], "line 1: 'hash_id_scope' must be 'local'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_its_place(tmp_path, tokenizer, name, rows, message):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, tokenizer, name, rows, *(() if name == "weka" else CHAT))
    assert message in str(caught.value)
    assert "file.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--history", "real"), "--history: only with --multi-turn or one of"),
        (("--max-delay", "3"), "--max-delay: only with"),
        (("--concurrent-sessions", "0"), "--concurrent-sessions"),
        ((*MESSAGES, "--concurrent-sessions", "2", "--max-concurrency", "3"), "(-u)"),
        ((*MESSAGES, "--concurrent-sessions", "2", "--request-rate", "3"), "--request-rate"),
        ((*MESSAGES, "--backend", "openai-embeddings"), "generate text"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together(tmp_path, argv, message):
    path = write_jsonl(tmp_path / "f.jsonl", [TALK])
    more = ("--dataset-path", path) if "messages" in argv else ()
    with pytest.raises(ConfigError) as caught:
        config(*argv, *more)
    assert message in str(caught.value)


def test_a_wire_that_takes_no_messages_is_refused(tmp_path, tokenizer):
    with pytest.raises(ConfigError, match="use --backend openai-chat"):
        loaded(tmp_path, tokenizer, "messages", [TALK], "--backend", "openai")
