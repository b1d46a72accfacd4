"""Completions and chat: bodies, headers, tokens, lengths, faults; on vLLM's own streams and on made
ones.
"""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.users.protocols.sinks import count
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol, read

STREAMS = Path(__file__).parent.parent / "data/streams"


def body(backend, sample=None, **more):
    request = protocol(backend, **more).request(
        sample or SampleRequest("hi", 1, 5, request_id="q-1")
    )
    return orjson.loads(request.body), request


@pytest.mark.parametrize("told", [-3, 2**63 - 1, 10**30, 1e30, "3", True, None, [3]])
def test_a_count_that_no_response_can_have_is_none(told):
    """2**63 - 1 made the sum over the requests negative."""
    assert count(told) == -1
    assert count(3) == 3


def test_body_and_headers_of_completions():
    fields, request = body("openai", api_key="sk-secret", headers={"X-A": "1"})
    assert fields == {
        "model": "m",
        "prompt": "hi",
        "repetition_penalty": 1.0,
        "temperature": 0.0,
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert request.target == "/v1/completions"
    assert request.headers == {
        "Content-Type": "application/json",
        "Authorization": "Bearer sk-secret",
        "X-A": "1",
        "x-request-id": "q-1",
    }


def test_later_fields_win():
    sample = SampleRequest("hi", 1, 5, body_overrides={"top_p": 0.3, "max_tokens": 9})
    fields, _ = body(
        "openai",
        sample,
        ignore_eos=True,
        sampling={"top_p": 0.1},
        extra_body={"top_p": 0.2, "ignore_eos": False, "min_p": 1},
    )
    assert (fields["top_p"], fields["max_tokens"], fields["ignore_eos"], fields["min_p"]) == (
        0.3,
        9,
        False,
        1,
    )


def test_a_header_of_the_user_beats_ours_but_not_the_request_id():
    _, request = body(
        "openai", api_key="k", headers={"authorization": "Mine", "X-Request-ID": "no"}
    )
    assert request.headers == {
        "Content-Type": "application/json",
        "authorization": "Mine",
        "x-request-id": "q-1",
    }


def test_body_of_chat():
    fields, request = body("openai-chat")
    assert request.target == "/v1/chat/completions"
    assert fields == {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_completion_tokens": 5,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA"}}
    fields, _ = body("openai-chat", SampleRequest("hi", 1, 5, multi_modal=image))
    assert fields["messages"][0]["content"] == [{"type": "text", "text": "hi"}, image]
    fields, _ = body(
        "openai-chat", SampleRequest("x", 1, 5, chat_messages=[{"role": "user", "content": "y"}])
    )
    assert fields["messages"] == [{"role": "user", "content": "y"}]


@pytest.mark.parametrize(
    ("backend", "file"),
    [
        ("openai", "vllm-completions.sse"),
        ("openai", "vllm-completions-continuous-usage.sse"),
        ("openai-chat", "vllm-chat.sse"),
    ],
)
@pytest.mark.parametrize("chunks", [None, 1, 7, 100_000])
def test_vllms_own_streams(backend, file, chunks):
    raw = (STREAMS / file).read_bytes()
    events = [
        json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")
    ]
    used = [e["usage"] for e in events if e.get("usage")][-1]
    texts = []
    for event in events:
        for choice in event["choices"][:1]:
            if backend == "openai":
                texts.append(choice["text"])
            elif choice["delta"].get("content") or (
                choice["delta"].get("content") == "" and "role" not in choice["delta"]
            ):
                texts.append(choice["delta"]["content"])
    record = read(backend, raw, chunks=chunks)
    assert record.success, record.error
    assert (record.output_len, record.input_tokens) == (
        used["completion_tokens"],
        used["prompt_tokens"],
    )
    assert record.text == "".join(texts)
    assert len(record.token_times) == len(texts)
    assert record.finish_reason in ("length", "stop")


def completion(text, **more):
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None, **more}
    return "data: " + json.dumps({"id": "c", "choices": [choice]}) + "\n\n"


def chat(delta, reason=None):
    return (
        "data: "
        + json.dumps(
            {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        )
        + "\n\n"
    )


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}}\n\n'
DONE = "data: [DONE]\n\n"


@given(st.lists(st.text(max_size=12), min_size=1, max_size=12), st.sampled_from([None, 1, 5, 64]))
def test_any_text_comes_through_whole(texts, chunks):
    record = read("openai", "".join(map(completion, texts)) + USAGE + DONE, chunks=chunks)
    assert record.success
    assert record.text == "".join(texts)
    assert len(record.token_times) == len(texts)
    assert record.output_len == 3


def test_without_usage_the_text_is_kept_for_counting():
    record = read("openai", completion("a") + completion("b") + DONE, keep_text=False)
    assert (record.success, record.output_len, record.text) == (True, -1, "ab")
    record = read("openai", completion("a") + USAGE + DONE, keep_text=False)
    assert (record.output_len, record.text) == (3, "")


def test_a_role_is_no_token_and_an_empty_text_is_one():
    stream = (
        chat({"role": "assistant", "content": ""})
        + chat({"content": ""})
        + chat({"content": "x"})
        + chat({}, "stop")
        + DONE
    )
    record = read("openai-chat", stream)
    assert (record.success, len(record.token_times), record.finish_reason) == (True, 2, "stop")


def test_reasoning_comes_before_the_answer():
    stream = (
        chat({"role": "assistant", "content": ""})
        + chat({"reasoning_content": "hm"})
        + chat({"reasoning": "hmm"})
        + chat({"content": "yes"})
        + chat({"content": "!"}, "stop")
        + DONE
    )
    record = read("openai-chat", stream)
    assert len(record.token_times) == 4
    assert record.first_token_time == record.token_times[0]
    assert record.first_answer_time == record.token_times[2]
    assert record.reasoning_tokens == 2
    assert record.text == "hmhmmyes!"


def test_tool_calls_are_tokens():
    call = [{"index": 0, "function": {"name": "f", "arguments": ""}}]
    more = [{"index": 0, "function": {"arguments": '{"a"'}}]
    record = read(
        "openai-chat",
        chat({"tool_calls": call}) + chat({"tool_calls": more}) + chat({}, "tool_calls") + DONE,
    )
    assert (record.success, len(record.token_times), record.finish_reason) == (
        True,
        2,
        "tool_calls",
    )
    assert record.text == 'f{"a"'


def test_usage_on_every_chunk_tells_how_many_tokens_it_carries():
    stream = ""
    for text, total in (("a", 1), ("bcd", 4), ("e", 5)):
        event = {
            "choices": [{"index": 0, "text": text, "finish_reason": None}],
            "usage": {"completion_tokens": total},
        }
        stream += "data: " + json.dumps(event) + "\n\n"
    record = read("openai", stream + DONE)
    assert record.token_counts.tolist() == [1, 3, 1]
    assert record.output_len == 5


FAULTS = [
    (
        {"body": completion("a") + 'data: {"error": {"message": "engine died", "code": 500}}\n\n'},
        "server",
        "engine died",
    ),
    (
        {"body": completion("a") + completion("b"), "whole": False},
        "cut",
        "connection closed before the response was complete",
    ),
    ({"body": completion("a") + completion("b")}, "cut", "stream ended without its end marker"),
    ({"body": completion("a") + "data: {oops\n\n"}, "protocol", "an event is not JSON: '{oops'"),
    ({"body": USAGE + DONE}, "no_tokens", "the response has no tokens"),
    (
        {
            "body": '{"error": {"message": "too busy"}}',
            "status": 429,
            "content_type": "application/json",
        },
        "http_429",
        "too busy",
    ),
    (
        {
            "body": '{"detail": [{"msg": "field required"}]}',
            "status": 422,
            "content_type": "application/json",
        },
        "http_422",
        "field required",
    ),
    (
        {
            "body": "<html><head><title>502 Bad Gateway</title></head></html>",
            "status": 502,
            "content_type": "text/html",
        },
        "http_502",
        "an HTML page: 502 Bad Gateway",
    ),
    (
        {"body": '{"error": "bad key sk-secret1"}', "status": 401, "api_key": "sk-secret1"},
        "http_401",
        "bad key ***",
    ),
]


@pytest.mark.parametrize(
    ("answer", "kind", "error"), FAULTS, ids=[f"{k}-{i}" for i, (_, k, _) in enumerate(FAULTS)]
)
def test_faults(answer, kind, error):
    record = read("openai", **answer)
    assert (record.success, record.error_kind) == (False, kind)
    assert record.error.startswith(error)


def test_a_finish_reason_and_a_clean_end_do_without_the_marker():
    record = read("openai", completion("a") + completion("b", finish_reason="stop"))
    assert record.success
    assert not read(
        "openai", completion("a") + completion("b", finish_reason="stop"), whole=False
    ).success


def test_what_comes_after_the_end_marker_is_ignored():
    record = read("openai", completion("a") + DONE + completion("b"))
    assert (record.success, len(record.token_times)) == (True, 1)


@pytest.mark.parametrize("file", ["vllm-error-400.json", "vllm-error-404.json"])
def test_vllms_own_errors(file):
    raw = (STREAMS / file).read_text()
    status = int(file[-8:-5])
    record = read("openai", raw, status=status, content_type="application/json")
    assert record.error_kind == f"http_{status}"
    assert record.error
    assert record.error[:40] in raw
