"""Every backend over real sockets against the simulator, whole and with each fault of a stream. The
simulator's answers are known: 8 tokens for 8 asked, the same text for the same prompt by every
protocol.
"""

import wave
from io import BytesIO

import numpy as np
import pytest

from llmbench_locust.simulator.launch import launch
from llmbench_locust.transport.client import Transport
from llmbench_locust.transport.exchange import Limit
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol

N = 8
TEXTS = [
    "openai", "vllm", "openai-chat", "openai-responses", "tgi", "sglang", "tensorrt-llm",
    "llama.cpp", "ollama", "anthropic",
]  # fmt: skip
GENERATION = [*TEXTS, "openai-audio"]
POOLING = [
    "openai-embeddings", "openai-embeddings-chat", "openai-embeddings-clip",
    "openai-embeddings-vlm2vec",
    "infinity-embeddings", "infinity-embeddings-clip", "vllm-pooling", "vllm-rerank",
]  # fmt: skip
# These have no finish reason apart from the end marker.
MARKER_ONLY = {"openai-responses", "llama.cpp", "ollama"}


@pytest.fixture(scope="module")
def sim():
    with launch(
        ["--clock", "fixed", "--ttft-ms", "4", "--itl-ms", "1", "--count", "words"]
    ) as process:
        yield process


@pytest.fixture(scope="module")
def transport(sim):
    transport = Transport(sim.url)
    yield transport
    transport.close()


def wav(seconds=0.5, rate=8000):
    buffer = BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", "none"))
        sound.writeframes(bytes(int(seconds * rate) * 2))
    return buffer.getvalue()


def sample_for(backend, n=N):
    media = (
        {"audio": wav(), "filename": "a.wav", "duration_s": 0.5}
        if backend == "openai-audio"
        else None
    )
    if backend == "vllm-rerank":
        return SampleRequest(["query", "one", "two two"], 4, 0, request_id="r-1")
    return SampleRequest("one two three", 3, n, request_id="r-1", multi_modal=media)


@pytest.fixture
def ask(transport):
    def ask(backend, fault="", *, headers=None, sample=None, timeout_s=10.0, **more):
        headers = {**({"x-sim-fault": fault} if fault else {}), **(headers or {})}
        spoken = protocol(backend, headers=headers, **more)
        sample = sample or sample_for(backend)
        sink = spoken.sink(sample)
        exchange = transport.exchange(spoken.request(sample), sink, limit=Limit(timeout_s))
        return spoken.record(0, sample, exchange, sink)

    return ask


def is_whole(record, backend, events=N):
    assert record.success, (record.error_kind, record.error)
    assert (record.status, record.error, record.error_kind) == (200, "", "")
    assert len(record.token_times) == events
    assert record.first_token_time == record.token_times[0] == record.first_answer_time
    assert np.all(np.diff(record.token_times) >= 0)
    assert record.end_time >= record.token_times[-1]
    if backend == "tensorrt-llm":  # counts nothing
        assert (record.output_len, record.input_tokens, record.finish_reason) == (-1, -1, "")
    else:
        assert record.output_len == N
        assert record.input_tokens >= 3
        assert record.finish_reason == "length"


@pytest.mark.parametrize("backend", GENERATION)
def test_a_whole_answer(ask, backend):
    record = ask(backend)
    is_whole(record, backend)
    assert record.token_counts is None
    assert record.audio_s == (0.5 if backend == "openai-audio" else 0.0)
    # Nothing is kept that nobody asked for, unless it must be counted.
    bare = ask(backend, keep_text=False)
    assert bare.text == (record.text if backend == "tensorrt-llm" else "")


def test_every_protocol_tells_the_same_text(ask):
    texts = {backend: ask(backend, "unicode").text for backend in TEXTS}
    assert len(set(texts.values())) == 1, texts
    assert "\u2028" in (ask("openai", "unicode", sample=SampleRequest("x", 1, 200)).text)


@pytest.mark.parametrize(
    "fault",
    ["split", "glue=3", "crlf", "no_space", "pings=1", "trailing", "pings=2,crlf,split,no_space"],
)
@pytest.mark.parametrize("backend", GENERATION)
def test_however_the_stream_is_written(ask, backend, fault):
    if backend == "tensorrt-llm" and fault == "trailing":
        return  # without an end marker nothing is after it
    record = ask(backend, f"unicode,{fault}")
    is_whole(record, backend)
    assert record.text == ask(backend, "unicode").text


@pytest.mark.parametrize("backend", GENERATION)
def test_a_cut_stream_fails_with_what_came_before(ask, backend):
    for fault in ("cut=3", "reset=3"):
        record = ask(backend, fault)
        assert (record.success, record.error_kind) == (False, "cut")
        assert record.error.startswith("connection closed before the response was complete")
        # A reset may take the last bytes with it.
        assert len(record.token_times) == 3 if fault == "cut=3" else len(record.token_times) <= 3


@pytest.mark.parametrize("backend", GENERATION)
def test_a_clean_end_without_any_marker_fails(ask, backend):
    record = ask(backend, "no_end")
    if backend == "tensorrt-llm":  # has none
        assert record.success
    else:
        assert (record.success, record.error_kind, record.error) == (
            False,
            "cut",
            "stream ended without its end marker",
        )


@pytest.mark.parametrize("backend", GENERATION)
def test_a_finish_reason_and_a_clean_end_are_an_end(ask, backend):
    record = ask(backend, "no_done")
    if backend in MARKER_ONLY:
        assert (record.success, record.error_kind) == (False, "cut")
    else:
        is_whole(record, backend)


@pytest.mark.parametrize("backend", GENERATION)
def test_an_error_event_fails_with_the_servers_words(ask, backend):
    record = ask(backend, "error=3")
    assert (record.success, record.error_kind, record.status) == (False, "server", 200)
    assert "EngineCore" in record.error, record.error
    assert len(record.token_times) == 3


@pytest.mark.parametrize("backend", GENERATION)
def test_broken_json_and_an_empty_stream(ask, backend):
    broken = ask(backend, "broken_json=3")
    assert (broken.success, broken.error_kind) == (False, "protocol")
    assert broken.error.startswith("an event is not JSON")
    empty = ask(backend, "empty")
    assert not empty.success
    assert empty.error_kind == ("cut" if backend == "tgi" else "no_tokens")


@pytest.mark.parametrize("backend", GENERATION + POOLING)
def test_refusals(ask, backend):
    record = ask(backend, "status=429")
    assert (record.success, record.error_kind, record.status) == (False, "http_429", 429)
    assert record.error == "Rate limit exceeded: too many requests."
    record = ask(backend, "html=502")
    assert (record.error_kind, record.error) == ("http_502", "an HTML page: 502 Bad Gateway")
    record = ask(backend, "disconnect")
    assert (record.success, record.status, record.error_kind) == (False, -1, "connect")


@pytest.mark.parametrize("backend", GENERATION)
def test_a_stall_ends_at_the_timeout_and_keeps_what_came(ask, backend):
    record = ask(backend, "stall=3", timeout_s=0.4)
    assert (record.success, record.error_kind) == (False, "timeout")
    assert len(record.token_times) == 3


@pytest.mark.parametrize("backend", GENERATION)
def test_without_counts_the_text_is_kept(ask, backend):
    record = ask(backend, "no_usage", keep_text=False)
    assert record.success
    assert record.output_len == -1
    assert record.text == ask(backend).text


@pytest.mark.parametrize("backend", GENERATION)
def test_several_tokens_in_a_chunk(ask, backend):
    record = ask(backend, "tokens_per_chunk=4")
    is_whole(record, backend, events=2)
    if backend in ("sglang", "llama.cpp", "openai-audio"):
        assert record.token_counts.tolist() == [4, 4]
    else:
        assert record.token_counts is None


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
def test_usage_wherever_it_stands(ask, backend):
    assert ask(backend, "usage_every,tokens_per_chunk=4").token_counts.tolist() == [4, 4]
    for fault in ("usage_every", "usage_with_choices"):
        record = ask(backend, fault)
        is_whole(record, backend)
        assert record.token_counts is None


@pytest.mark.parametrize("backend", ["openai-chat", "openai-responses", "ollama", "anthropic"])
def test_reasoning(ask, backend):
    record = ask(backend, headers={"x-sim-reasoning": "3"})
    assert record.success, record.error
    assert len(record.token_times) == N
    assert record.first_token_time == record.token_times[0]
    assert record.first_answer_time == record.token_times[3]
    assert record.reasoning_tokens == 3
    whole = ask(backend)
    assert whole.text.endswith(record.text)
    assert len(record.text.split()) == len(whole.text.split()) - 3


@pytest.mark.parametrize("backend", ["openai-chat", "anthropic"])
def test_tool_calls(ask, backend):
    record = ask(backend, headers={"x-sim-tool-calls": "1"})
    assert record.success, record.error
    assert (len(record.token_times), record.output_len, record.finish_reason) == (
        N,
        N,
        "tool_calls",
    )
    assert '{"city": "' in record.text


@pytest.mark.parametrize("backend", POOLING)
def test_pooling(ask, backend):
    record = ask(backend)
    assert record.success, record.error
    assert (record.output_len, len(record.token_times), record.text) == (0, 0, "")
    assert record.input_tokens >= 3
    assert record.num_sequences == (2 if backend == "vllm-rerank" else 1)
    assert record.end_time > record.start_time
    assert record.first_token_time != record.first_token_time


def test_a_batch_of_texts(ask):
    record = ask("openai-embeddings", sample=SampleRequest(["a b", "c", "d e f"], 6, 0))
    assert (record.success, record.num_sequences, record.input_tokens) == (True, 3, 6)


def test_a_dead_server():
    transport = Transport("http://127.0.0.1:1")
    spoken = protocol("openai")
    sink = spoken.sink(sample_for("openai"))
    exchange = transport.exchange(spoken.request(sample_for("openai")), sink)
    record = spoken.record(0, sample_for("openai"), exchange, sink)
    assert (record.success, record.error_kind, record.status) == (False, "connect", -1)
    assert "127.0.0.1:1" in record.error
    transport.close()
