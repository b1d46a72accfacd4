"""Completions and chat: the events are those that a real vLLM sends (tests/data/streams), the
counts are the request's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbench_locust.simulator.launch import SimProcess
from tests.simulator.wire import MESSAGES, Answer, post

GOLD = Path(__file__).parents[1] / "data" / "streams"
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def gold_events(name: str) -> list[Any]:
    return Answer(200, {}, [(GOLD / name).read_bytes()], [], True).events


def shape(value: Any) -> Any:
    """Keys and types; text and numbers vary with the model."""
    if isinstance(value, dict):
        return {
            key: shape(item)
            for key, item in sorted(value.items())
            if key not in ("system_fingerprint", "prompt_text")
        }
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def without_logprobs(events: list[Any]) -> list[Any]:
    for event in events:
        for choice in event["choices"]:
            choice["logprobs"] = None
    return events


def test_completions_stream_has_the_shape_of_vllm(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/v1/completions", {"model": "m", "prompt": "a b c", "max_tokens": 6, **USAGE}
    )
    gold = gold_events("vllm-completions.sse")
    assert [shape(event) for event in answer.events] == [shape(event) for event in gold]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.data[-1] == "[DONE]"
    assert answer.ended
    assert answer.events[-1]["usage"] == {
        "prompt_tokens": 3,
        "total_tokens": 9,
        "completion_tokens": 6,
    }
    assert [event["choices"][0]["finish_reason"] for event in answer.events[:-1]] == [None] * 5 + [
        "length"
    ]
    assert {event["model"] for event in answer.events} == {"m"}
    assert len({event["id"] for event in answer.events}) == 1


def test_continuous_usage_counts_up(sim: SimProcess) -> None:
    options = {
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    answer = post(
        sim.url, "/v1/completions", {"prompt": "a b c", "max_tokens": 4, "logprobs": 1, **options}
    )
    gold = gold_events("vllm-completions-continuous-usage.sse")
    assert [shape(e) for e in without_logprobs(answer.events)] == [
        shape(e) for e in without_logprobs(gold)
    ]
    assert [event["usage"] for event in answer.events] == [event["usage"] for event in gold]


def test_logprobs_name_each_token_with_its_offset(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/v1/completions", {"prompt": "a", "max_tokens": 3, "logprobs": 1, "stream": True}
    )
    offset = 0
    for event in answer.events:
        choice = event["choices"][0]
        assert choice["logprobs"]["tokens"] == [choice["text"]]
        assert choice["logprobs"]["text_offset"] == [offset]
        offset += len(choice["text"])


def test_chat_stream_has_the_shape_of_vllm(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/v1/chat/completions", {"messages": MESSAGES, "max_completion_tokens": 6, **USAGE}
    )
    gold = gold_events("vllm-chat.sse")
    assert [shape(event) for event in answer.events] == [shape(event) for event in gold]
    assert answer.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert answer.events[-1]["usage"]["completion_tokens"] == 6
    assert answer.data[-1] == "[DONE]"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_stream_without_usage_option_has_none(sim: SimProcess, path: str) -> None:
    answer = post(
        sim.url, path, {"prompt": "x", "messages": MESSAGES, "max_tokens": 2, "stream": True}
    )
    assert all("usage" not in event and event["choices"] for event in answer.events)


def test_whole_answer_is_the_stream_joined(sim: SimProcess) -> None:
    body = {"prompt": "the same words", "max_tokens": 9}
    streamed = post(sim.url, "/v1/completions", {**body, "stream": True})
    whole = post(sim.url, "/v1/completions", body)
    assert whole.headers["content-type"] == "application/json"
    assert whole.json["choices"][0]["text"] == "".join(
        event["choices"][0]["text"] for event in streamed.events
    )
    assert whole.json["usage"] == {"prompt_tokens": 3, "total_tokens": 12, "completion_tokens": 9}
    chat = {"messages": MESSAGES, "max_tokens": 9}
    streamed = post(sim.url, "/v1/chat/completions", {**chat, "stream": True})
    whole = post(sim.url, "/v1/chat/completions", chat)
    joined = "".join(event["choices"][0]["delta"]["content"] for event in streamed.events)
    assert whole.json["choices"][0]["message"]["content"] == joined
    assert whole.json["object"] == "chat.completion"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_n_choices(sim: SimProcess, path: str) -> None:
    body = {"prompt": "x", "messages": MESSAGES, "max_tokens": 3, "n": 2}
    answer = post(sim.url, path, {**body, **USAGE})
    tokens = [
        event["choices"][0]
        for event in answer.events
        if event["choices"] and "role" not in event["choices"][0].get("delta", {})
    ]
    assert [choice["index"] for choice in tokens] == [0, 1] * 3
    assert answer.events[-1]["usage"]["completion_tokens"] == 6
    assert [choice["index"] for choice in post(sim.url, path, body).json["choices"]] == [0, 1]


@pytest.mark.parametrize(
    ("prompt", "expected"), [("a b c", 3), ([5, 6, 7, 8], 4), (["a b", "c"], 3), ([[1, 2], [3]], 3)]
)
def test_prompt_tokens(sim: SimProcess, prompt: Any, expected: int) -> None:
    assert (
        post(sim.url, "/v1/completions", {"prompt": prompt, "max_tokens": 1}).json["usage"][
            "prompt_tokens"
        ]
        == expected
    )


def test_one_token(sim: SimProcess) -> None:
    answer = post(sim.url, "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1, **USAGE})
    assert [len(event["choices"]) for event in answer.events] == [1, 1, 0]
    assert answer.events[1]["choices"][0]["finish_reason"] == "length"


def test_reasoning_and_tool_calls_on_request(sim: SimProcess) -> None:
    headers = {"x-sim-reasoning": "2", "x-sim-tool-calls": "1"}
    body = {"messages": MESSAGES, "max_tokens": 6}
    answer = post(sim.url, "/v1/chat/completions", {**body, **USAGE}, headers)
    deltas = [event["choices"][0]["delta"] for event in answer.events[1:-1]]
    assert [next(iter(delta)) for delta in deltas] == ["reasoning"] * 2 + ["tool_calls"] * 4
    first = deltas[2]["tool_calls"][0]
    assert (first["type"], first["function"]["name"], first["index"]) == (
        "function",
        "get_weather",
        0,
    )
    assert [set(delta["tool_calls"][0]) for delta in deltas[3:]] == [{"index", "function"}] * 3
    arguments = "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas[2:])
    assert list(orjson.loads(arguments)) == ["city"]
    assert answer.events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    message = post(sim.url, "/v1/chat/completions", body, headers).json["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == arguments
    assert message["reasoning"] == deltas[0]["reasoning"] + deltas[1]["reasoning"]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/completions", {"prompt": 5}, "prompt"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 200_000}, "max_model_len"),
        ("/v1/completions", b"{no json", "JSON"),
        ("/v1/completions", b"[]", "object"),
        ("/v1/chat/completions", {"messages": []}, "messages"),
    ],
)
def test_bad_requests_get_the_error_json_of_vllm(
    sim: SimProcess, path: str, body: Any, word: str
) -> None:
    answer = post(sim.url, path, body)
    gold = orjson.loads((GOLD / "vllm-error-400.json").read_bytes())
    assert answer.status == 400
    assert set(answer.json["error"]) == set(gold["error"])
    assert answer.json["error"]["code"] == 400
    assert word in answer.json["error"]["message"]
