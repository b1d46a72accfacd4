"""The sinks of the other backends, on vLLM's own streams and on streams made by hand after the
servers' documentation.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.redact import redacted, secrets_of
from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.exchange import Exchange
from llmbench_locust.users.protocols.server_errors import message_of
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol, read

STREAMS = Path(__file__).parent.parent / "data/streams"


def sse(*events, name=False):
    lines = []
    for event in events:
        head = f"event: {event['type']}\n" if name else ""
        lines.append(
            head + "data: " + (event if isinstance(event, str) else json.dumps(event)) + "\n\n"
        )
    return "".join(lines)


@pytest.mark.parametrize("chunks", [None, 1, 13, 100_000])
def test_vllms_responses(chunks):
    record = read("openai-responses", (STREAMS / "vllm-responses.sse").read_bytes(), chunks=chunks)
    assert record.success, record.error
    # Three deltas, the second of four tokens, which nobody tells.
    assert (len(record.token_times), record.token_counts) == (3, None)
    assert (record.output_len, record.input_tokens, record.finish_reason) == (6, 11, "length")
    assert (record.text, record.reasoning_tokens) == (" G G G G Gable", 0)


@pytest.mark.parametrize("chunks", [None, 1, 13, 100_000])
def test_vllms_messages(chunks):
    record = read(
        "anthropic", (STREAMS / "vllm-anthropic-messages.sse").read_bytes(), chunks=chunks
    )
    assert record.success, record.error
    assert len(record.token_times) == 6
    assert (record.output_len, record.input_tokens, record.finish_reason) == (6, 11, "length")
    assert record.text == " G G G G Gable"


def delta(text, kind="output_text"):
    return {"type": f"response.{kind}.delta", "delta": text}


RESPONSES_FAULTS = [
    (
        [delta("a"), {"type": "error", "code": "server_error", "message": "engine died"}],
        "server",
        "engine died",
    ),
    ([delta("a"), {"type": "error", "error": {"message": "nested"}}], "server", "nested"),
    (
        [
            delta("a"),
            {
                "type": "response.failed",
                "response": {"error": {"code": "x", "message": "out of memory"}},
            },
        ],
        "server",
        "out of memory",
    ),
    ([delta("a")], "cut", "stream ended without its end marker"),
    ([{"type": "response.completed", "response": {}}], "no_tokens", "the response has no tokens"),
]


@pytest.mark.parametrize(("events", "kind", "error"), RESPONSES_FAULTS)
def test_faults_of_responses(events, kind, error):
    record = read("openai-responses", sse(*events, name=True))
    assert (record.success, record.error_kind, record.error) == (False, kind, error)


def test_an_incomplete_response_was_cut_at_its_length():
    for end in (
        {"type": "response.incomplete", "response": {}},
        {"type": "response.completed", "response": {"status": "incomplete"}},
    ):
        assert read("openai-responses", sse(delta("a"), end)).finish_reason == "length"
    assert (
        read("openai-responses", sse(delta("a"), {"type": "response.completed"})).finish_reason
        == "stop"
    )


@pytest.mark.parametrize("backend", ["openai", "openai-chat", "sglang", "llama.cpp"])
def test_an_older_form_of_an_error_event(backend):
    record = read(backend, sse({"object": "error", "message": "engine died", "code": 500}))
    assert (record.error_kind, record.error) == ("server", "engine died")


def test_only_what_the_next_event_may_equal_is_plain():
    def said(backend, choice, **more):
        sink = protocol(backend).sink(SampleRequest("", 1, 1))
        return sink.on_event(json.dumps({"choices": [choice], **more}).encode())

    assert said("openai", {"text": "a", "finish_reason": None, "logprobs": None}) == -1
    assert said("openai", {"text": "a", "finish_reason": None}, usage=None) == -1
    for other in ({"finish_reason": "stop"}, {"logprobs": {"tokens": ["a"]}}):
        assert said("openai", {"text": "a", **other}) == 1
    assert said("openai", {"text": "a"}, usage={"completion_tokens": 3}) == 3
    assert said("openai-chat", {"delta": {"content": "a"}}) == -1
    assert said("openai-chat", {"delta": {"reasoning": "a"}}) == -1
    assert said("openai-chat", {"delta": {"content": "a", "reasoning": "b"}}) == 1
    assert (
        said(
            "openai-chat",
            {"delta": {"content": "a", "tool_calls": [{"function": {"arguments": "x"}}]}},
        )
        == 1
    )
    assert said("openai-chat", {"delta": {"content": ""}}) == 1
    assert said("openai-chat", {"delta": {"content": "", "role": "assistant"}}) == 0
    assert said("openai-chat", {"delta": {}, "finish_reason": "stop"}) == 0


def test_reasoning_and_calls_of_responses():
    record = read(
        "openai-responses",
        sse(
            delta("hm", "reasoning_text"),
            delta("so", "reasoning_text"),
            delta('{"a":', "function_call_arguments"),
            delta("1}", "function_call_arguments"),
            {
                "type": "response.incomplete",
                "response": {"incomplete_details": {"reason": "max_output_tokens"}},
            },
        ),
    )
    assert record.success, record.error
    assert (len(record.token_times), record.reasoning_tokens, record.finish_reason) == (
        4,
        2,
        "length",
    )
    assert record.first_answer_time == record.token_times[2]
    # Nobody told the length: all text is there to be counted.
    assert (record.output_len, record.text) == (-1, 'hmso{"a":1}')


def message(kind, **fields):
    return {"type": kind, **fields}


def block(**fields):
    return message("content_block_delta", index=0, delta=fields)


def test_anthropic_thinking_signature_tools_and_pings():
    start = message("message_start", message={"usage": {"input_tokens": 21, "output_tokens": 1}})
    stream = sse(
        start,
        message("ping"),
        block(type="thinking_delta", thinking="hm"),
        block(type="thinking_delta", thinking="hm"),
        block(type="signature_delta", signature="EqQB"),
        block(type="text_delta", text="yes"),
        block(type="input_json_delta", partial_json='{"a"'),
        message("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}),
        message("message_stop"),
        name=True,
    )
    record = read("anthropic", stream)
    assert record.success, record.error
    assert (len(record.token_times), record.reasoning_tokens) == (4, 2)
    assert record.first_answer_time == record.token_times[2]
    assert (record.output_len, record.input_tokens, record.finish_reason) == (9, 21, "tool_calls")
    assert record.text == 'yes{"a"'
    # Cut before its end the count of the start is no length.
    cut = read("anthropic", sse(start, block(type="text_delta", text="y"), name=True), whole=False)
    assert (cut.error_kind, cut.output_len) == ("cut", -1)


def test_anthropic_counts_the_cached_part_of_the_prompt():
    usage = {
        "input_tokens": 1,
        "cache_read_input_tokens": 16,
        "cache_creation_input_tokens": None,
        "output_tokens": 0,
    }
    stream = sse(
        message("message_start", message={"usage": usage}),
        block(type="text_delta", text="y"),
        message("message_stop"),
    )
    assert read("anthropic", stream).input_tokens == 17


def test_anthropic_error_event():
    error = message("error", error={"type": "overloaded_error", "message": "Overloaded"})
    record = read("anthropic", sse(block(type="text_delta", text="y"), error, name=True))
    assert (record.error_kind, record.error) == ("server", "Overloaded")


def tgi(text, last=None, **token):
    details = (
        None if last is None else {"finish_reason": last, "generated_tokens": 3, "input_length": 4}
    )
    body = {"token": {"id": 1, "text": text, "logprob": -1.0, "special": False, **token}}
    return {**body, "generated_text": None if last is None else "ab", "details": details}


def test_tgi():
    record = read(
        "tgi",
        sse(tgi("a"), tgi("b"), tgi("</s>", "eos_token", special=True)).replace("data: ", "data:"),
    )
    assert record.success, record.error
    assert (len(record.token_times), record.output_len, record.input_tokens) == (3, 3, 4)
    assert (record.text, record.finish_reason) == ("ab", "stop")
    assert read("tgi", sse(tgi("a"), tgi("b"))).error_kind == "cut"
    failed = read(
        "tgi",
        sse(tgi("a"), {"error": "Request failed during generation", "error_type": "generation"}),
    )
    assert (failed.error_kind, failed.error) == ("server", "Request failed during generation")


def sglang(text, tokens, reason=None):
    return {
        "text": text,
        "meta_info": {"prompt_tokens": 4, "completion_tokens": tokens, "finish_reason": reason},
    }


def test_sglang():
    events = [
        sglang("a", 1),
        sglang("a", 1),
        sglang("abcd", 4),
        sglang("abcd", 5),
        sglang("abcde", 6, {"type": "length"}),
    ]
    record = read("sglang", sse(*events, "[DONE]"))
    assert record.success, record.error
    assert record.token_times.tolist() == [1.0, 3.0, 4.0, 5.0]
    assert record.token_counts.tolist() == [1, 3, 1, 1]
    assert (record.output_len, record.input_tokens, record.finish_reason, record.text) == (
        6,
        4,
        "length",
        "abcde",
    )
    # --stream-output: each event has its own text alone
    assert (
        read(
            "sglang",
            sse(sglang("xa", 1), sglang("b", 2), sglang("c", 3, {"type": "stop"}), "[DONE]"),
        ).text
        == "xabc"
    )
    abort = {"type": "abort", "message": "the prompt is too long"}
    failed = read("sglang", sse(sglang("", 0, abort), "[DONE]"))
    assert (failed.error_kind, failed.error) == ("server", "the prompt is too long")


def test_tensorrt():
    def events(*texts):
        return sse(
            *({"model_name": "ensemble", "sequence_id": 0, "text_output": text} for text in texts)
        )

    record = read("tensorrt-llm", events("a", " b", "", " c"))
    assert record.success
    assert (len(record.token_times), record.output_len, record.text) == (4, -1, "a b c")
    record = read(
        "tensorrt-llm", events("a", "a b", "a b c"), extra_body={"accumulate_tokens": True}
    )
    assert (len(record.token_times), record.text) == (3, "a b c")
    assert read("tensorrt-llm", events("a"), whole=False).error_kind == "cut"


def test_llamacpp():
    plain = [{"content": text, "stop": False} for text in ("a", "b", "c")]
    end = {
        "content": "",
        "stop": True,
        "stop_type": "limit",
        "tokens_predicted": 3,
        "tokens_evaluated": 4,
    }
    record = read("llama.cpp", sse(*plain, end))
    assert record.success, record.error
    assert (len(record.token_times), record.token_counts, record.text) == (3, None, "abc")
    assert (record.output_len, record.input_tokens, record.finish_reason) == (3, 4, "length")
    # A newer server counts on each event: a character of three tokens comes in one.
    counted = [
        {"content": t, "stop": False, "tokens": [1], "tokens_predicted": n}
        for t, n in (("a", 1), ("日", 4), ("c", 5))
    ]
    assert read("llama.cpp", sse(*counted, end)).token_counts.tolist() == [1, 3, 1]
    older = {"content": "", "stop": True, "stopped_limit": True, "tokens_predicted": 3}
    assert read("llama.cpp", sse(*plain, older)).finish_reason == "length"
    failed = read(
        "llama.cpp",
        sse(plain[0], {"error": {"code": 500, "message": "context full", "type": "server_error"}}),
    )
    assert (failed.error_kind, failed.error) == ("server", "context full")


def ndjson(*lines):
    return "".join(json.dumps(line) + "\n" for line in lines)


OLLAMA_END = {"done": True, "done_reason": "length", "eval_count": 3, "prompt_eval_count": 4}


@pytest.mark.parametrize("last_newline", [True, False])
def test_ollama(last_newline):
    def line(i, **fields):
        return {"model": "m", "created_at": f"2026-01-01T00:00:0{i}Z", **fields, "done": False}

    stream = ndjson(
        line(1, response="a"),
        line(2, response="b"),
        line(3, response="c"),
        {"response": "", **OLLAMA_END},
    )
    stream = stream if last_newline else stream[:-1]
    record = read(
        "ollama", stream, content_type="application/x-ndjson", chunks=None if last_newline else 9
    )
    assert record.success, record.error
    assert (len(record.token_times), record.output_len, record.input_tokens) == (3, 3, 4)
    assert (record.text, record.finish_reason) == ("abc", "length")


def test_ollama_chat_thinking_and_calls():
    lines = [
        {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"message": {"role": "assistant", "content": "yes"}, "done": False},
        {
            "message": {
                "content": "",
                "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
            },
            "done": False,
        },
        {"message": {"role": "assistant", "content": ""}, **OLLAMA_END},
    ]
    record = read(
        "ollama", ndjson(*lines), content_type="application/x-ndjson", endpoint="/api/chat"
    )
    assert record.success, record.error
    assert (len(record.token_times), record.reasoning_tokens, record.text) == (3, 1, "yesf{'a': 1}")
    assert record.first_answer_time == record.token_times[1]
    failed = read(
        "ollama",
        ndjson(lines[1], {"error": "model runner has stopped"}),
        content_type="application/x-ndjson",
    )
    assert (failed.error_kind, failed.error) == ("server", "model runner has stopped")


def body(backend, text, **more):
    return read(backend, text, content_type="application/json", chunks=11, **more)


def test_bodies_of_pooling():
    whole = body(
        "openai-embeddings",
        json.dumps({"data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}}),
    )
    assert (whole.success, whole.input_tokens, whole.output_len, whole.num_sequences) == (
        True,
        4,
        0,
        1,
    )
    assert body("vllm-rerank", '{"results": [], "usage": {"total_tokens": 6}}').input_tokens == 6
    assert body("vllm-pooling", "[[0.1]]").success
    broken = body("openai-embeddings", "[1, 2")
    assert (broken.error_kind, broken.error[:27]) == ("protocol", "the response is not JSON: '")
    failed = body("openai-embeddings", '{"error": {"message": "no such model"}}')
    assert (failed.error_kind, failed.error) == ("server", "no such model")
    assert body("openai-embeddings", '{"data": []}', whole=False).error_kind == "cut"


def test_a_body_of_bytes():
    spoken = protocol("vllm-pooling", extra_body={"encoding_format": "bytes"})
    sample = SampleRequest("hi", 1, 0)
    sink = spoken.sink(sample)
    sink.on_body(b"\x00\x01")
    exchange = Exchange(
        status=200, complete=True, headers={"metadata": '{"usage": {"prompt_tokens": 5}}'}
    )
    record = spoken.record(0, sample, exchange, sink)
    assert (record.success, record.input_tokens) == (True, 5)


@pytest.mark.parametrize(
    "backend",
    ["openai", "openai-chat", "openai-responses", "tgi", "sglang", "llama.cpp", "anthropic"],
)
def test_a_document_in_place_of_the_stream(backend):
    said = read(
        backend,
        '{"object": "error", "message": "no streams here"}',
        content_type="application/json",
    )
    assert (said.success, said.error_kind, said.error) == (False, "server", "no streams here")
    mute = read(backend, '{"choices": []}', content_type="application/json")
    assert (mute.success, mute.error_kind) == (False, "protocol")
    assert "application/json" in mute.error


KEYS = [
    "choices",
    "delta",
    "text",
    "content",
    "usage",
    "type",
    "response",
    "meta_info",
    "token",
    "details",
    "message",
    "completion_tokens",
    "finish_reason",
    "tool_calls",
    "function",
    "error",
    "done",
    "stop",
    "object",
    "loc",
    "thinking",
    "reasoning",
    "text_output",
]
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
STREAMING = [
    "openai",
    "openai-chat",
    "openai-responses",
    "openai-audio",
    "tgi",
    "sglang",
    "tensorrt-llm",
    "llama.cpp",
]
STREAMING += ["ollama", "anthropic"]


@given(st.lists(_json, max_size=5))
def test_no_event_of_any_form_raises(events):
    for backend in STREAMING:
        sink = protocol(backend).sink(SampleRequest("", 1, 1))
        for event in events:
            assert isinstance(sink.on_event(json.dumps(event).encode()), int)
        assert isinstance(sink.text(reasoning=True), str)


@given(_json)
def test_no_body_of_any_form_raises(value):
    raw = json.dumps(value).encode()
    assert isinstance(message_of(raw), str)
    for backend in ("openai-embeddings", "openai"):
        sink = protocol(backend).sink(SampleRequest("", 1, 1))
        sink.on_body(raw)
        assert isinstance(sink.error, str)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"m","type":"t"}}', "m"),
        (b'{"error":"m","error_type":"validation"}', "m"),
        (b'{"object":"error","message":"m","code":400}', "m"),
        (b'{"detail":"m"}', "m"),
        (
            b'{"detail":[{"loc":["body","max_tokens"],"msg":"Field required"}]}',
            "body.max_tokens: Field required",
        ),
        (b'[{"error":{"code":429,"message":"m"}}]', "m"),
        (b'{"errors":[{"message":"m"},{"message":"n"}]}', "m; n"),
        (b'{"error":{"code":429}}', '{"code":429}'),
        (b'"m"', "m"),
        (b"upstream timed out", "upstream timed out"),
        (b"<!DOCTYPE html><title> 504 &amp; more </title><body>x", "an HTML page: 504 & more"),
        (b"<html><body><script>x()</script><h1>Busy</h1></body></html>", "an HTML page: Busy"),
        (b"<html><body>plain words</body></html>", "an HTML page: plain words"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_messages_of_errors(body, words):
    assert message_of(body) == words


def test_an_answer_that_says_nothing_is_named_by_its_status():
    assert read("openai", "", status=503).error == "503 Service Unavailable"
    assert read("openai", "", status=599).error == "status 599"


def test_no_secret_in_a_message():
    secrets = secrets_of(
        "sk-key-1",
        {"Authorization": "Bearer tok-abcdef", "X-Api-Key": "k=vvvvvvv", "X-Note": "staging-7"},
    )
    text = "key sk-key-1, Bearer tok-abcdef, only tok-abcdef, vvvvvvv at staging-7, a Bearer"
    assert redacted(text, secrets) == "key ***, ***, only ***, *** at ***, a Bearer"
    assert len(redacted("x" * 9999)) == 500
    assert redacted(" a\n\tb ") == "a b"


def line(fields):
    return json.dumps(fields) + "\n"


def named(**delta):
    return sse({"type": "content_block_delta", "index": 0, "delta": delta}, name=True)


def chosen(**fields):
    return sse({"id": "c", "choices": [{"index": 0, "finish_reason": None, **fields}]})


# How each server writes the n-th of its token events, and how many kinds of event the stream then
# has.
ALIKE = {
    "openai": [lambda n: chosen(text=f" {n}", logprobs=None)],
    "openai-chat": [
        lambda n: chosen(delta={"reasoning_content": f" {n}"}),
        lambda n: chosen(delta={"content": f" {n}"}),
    ],
    "anthropic": [
        lambda n: named(type="thinking_delta", thinking=f" {n}"),
        lambda n: named(type="text_delta", text=f" {n}"),
        lambda n: named(type="input_json_delta", partial_json=f" {n}"),
    ],
    "tensorrt-llm": [lambda n: sse({"model_name": "ensemble", "text_output": f" {n}"})],
    "llama.cpp": [lambda n: sse({"content": f" {n}", "stop": False})],
    "ollama": [lambda n: line({"model": "m", "response": f" {n}", "done": False})],
}


@pytest.mark.parametrize("backend", ALIKE)
def test_a_stream_of_like_events_is_hardly_parsed(backend):
    kinds = ALIKE[backend]
    events = [kind(n).encode() for kind in kinds for n in range(50)]
    sink = protocol(backend).sink(SampleRequest("", 1, 1))
    parsed = []
    whole = sink.on_event
    sink.on_event = lambda data: parsed.append(data) or whole(data)
    assembly = StreamAssembly(sink)
    kind = "application/x-ndjson" if backend == "ollama" else "text/event-stream"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for at, raw in enumerate([head, *(b"%x\r\n%s\r\n" % (len(e), e) for e in events)]):
        assembly.arrivals += [float(at), raw]
    assembly.decode()
    assert len(assembly.token_times()) == len(events)
    assert len(parsed) <= 2 * len(kinds)
    numbers = "".join(f" {n}" for n in range(50))
    assert sink.text(reasoning=True) == numbers * len(kinds)
    thinks = backend in ("openai-chat", "anthropic")
    assert sink.text() == numbers * (len(kinds) - thinks)
    assert sink.reasoning_events == (50 if thinks else 0)
