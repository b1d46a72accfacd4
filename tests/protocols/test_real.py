"""Against other projects' servers, where somebody has started them: each test runs when the
server's URL is in the environment.

    LLMBENCH_REAL_VLLM      vllm serve MODEL --served-model-name tiny  (it needs a chat template)
    LLMBENCH_REAL_VLLM_EMBED  vllm serve MODEL --served-model-name minilm --runner pooling
    LLMBENCH_REAL_INFINITY  infinity_emb v2 --model-id MODEL --served-model-name minilm
    LLMBENCH_REAL_GUIDELLM  guidellm mock-server --model mock
    LLMBENCH_REAL_LLAMACPP  llama-server -m MODEL.gguf -c 2048
    LLMBENCH_REAL_TRANSFORMERS  transformers serve MODEL
                                (LLMBENCH_REAL_TRANSFORMERS_MODEL: the same MODEL)

What was found with which versions stands in docs/backends.md.
"""

import os

import numpy as np
import pytest

from llmbench_locust.transport.client import Transport
from llmbench_locust.transport.exchange import Limit
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol

pytestmark = pytest.mark.real
N = 12


def ask(server, backend, model, sample=None, **more):
    url = os.environ.get(f"LLMBENCH_REAL_{server}")
    if not url:
        pytest.skip(f"LLMBENCH_REAL_{server} names no server")
    spoken = protocol(backend, model=model, **more)
    sample = sample or SampleRequest("the quick brown fox", 4, N, request_id="real-1")
    transport = Transport(url)
    sink = spoken.sink(sample)
    exchange = transport.exchange(spoken.request(sample), sink, limit=Limit(60.0))
    transport.close()
    return spoken.record(0, sample, exchange, sink)


def is_whole(record, n=N):
    assert record.success, (record.error_kind, record.error)
    assert (record.output_len, record.finish_reason) == (n, "length")
    assert record.input_tokens > 0
    assert record.text
    # A busy server puts several tokens into one chunk.
    assert 1 <= len(record.token_times) <= n
    assert np.all(np.diff(record.token_times) >= 0)
    assert record.start_time < record.first_token_time <= record.token_times[-1] <= record.end_time


@pytest.mark.parametrize(
    "backend", ["openai", "vllm", "openai-chat", "openai-responses", "anthropic"]
)
def test_vllm(backend):
    is_whole(ask("VLLM", backend, "tiny"))


@pytest.mark.parametrize("backend", ["openai", "openai-chat"])
def test_vllm_tells_the_tokens_of_each_chunk(backend):
    usage = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    record = ask("VLLM", backend, "tiny", extra_body=usage)
    is_whole(record)
    counts = (
        np.ones(len(record.token_times)) if record.token_counts is None else record.token_counts
    )
    # A special token at the end has no chunk of its own in chat.
    assert N - 1 <= counts.sum() <= N


def test_vllm_takes_every_sampling_parameter():
    sampling = {
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.01,
        "repetition_penalty": 1.1,
    }
    sampling |= {"frequency_penalty": 0.1, "presence_penalty": 0.1}
    for backend in ("openai", "openai-chat"):
        is_whole(ask("VLLM", backend, "tiny", sampling=sampling, ignore_eos=True, logprobs=2))


@pytest.mark.parametrize("backend", ["openai", "openai-chat", "openai-responses", "anthropic"])
def test_vllms_refusals(backend):
    record = ask("VLLM", backend, "nope")
    assert (record.success, record.error_kind) == (False, "http_404")
    assert "`nope` does not exist" in record.error
    record = ask("VLLM", "openai", "tiny", SampleRequest("x", 1, 10_000_000))
    assert (record.success, record.error_kind) == (False, "http_400")
    assert "max_tokens=10000000" in record.error


@pytest.mark.parametrize("backend", ["openai-embeddings", "vllm-pooling"])
def test_vllm_pooling(backend):
    record = ask("VLLM_EMBED", backend, "minilm", SampleRequest(["a b", "c"], 3, 0))
    assert record.success, record.error
    assert (record.num_sequences, record.output_len) == (2, 0)
    assert record.input_tokens >= 3
    binary = ask("VLLM_EMBED", backend, "minilm", extra_body={"encoding_format": "bytes"})
    assert binary.success, binary.error
    assert binary.input_tokens > 0
    # A text that is too long is cut, not refused.
    assert ask("VLLM_EMBED", backend, "minilm", SampleRequest("word " * 3000, 3000, 0)).success


def test_vllm_rerank():
    record = ask("VLLM_EMBED", "vllm-rerank", "minilm", SampleRequest(["q", "a", "b"], 3, 0))
    assert record.success, record.error
    assert (record.num_sequences, record.input_tokens > 0) == (2, True)


def test_infinity():
    record = ask("INFINITY", "infinity-embeddings", "minilm", SampleRequest(["a b", "c"], 3, 0))
    assert record.success, record.error
    assert (record.num_sequences, record.input_tokens > 0) == (2, True)
    assert ask("INFINITY", "infinity-embeddings-clip", "minilm").success
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    refused = ask(
        "INFINITY", "infinity-embeddings", "minilm", SampleRequest("", 1, 0, multi_modal=image)
    )
    assert (refused.success, refused.error_kind) == (False, "http_422")
    assert "Incorrect padding" in refused.error


@pytest.mark.parametrize("backend", ["openai", "openai-chat", "openai-responses"])
def test_guidellm(backend):
    record = ask("GUIDELLM", backend, "mock")
    assert record.success, record.error
    assert (record.output_len, record.finish_reason) == (N, "stop")
    # Its completions end in a chunk of choices without text, which is an event as vLLM's client
    # counts.
    assert len(record.token_times) == N + (backend == "openai")
    missing = ask("GUIDELLM", "anthropic", "mock")
    assert (missing.error_kind, missing.error) == ("http_404", "Not Found")


@pytest.mark.parametrize(
    "backend", ["llama.cpp", "openai", "openai-chat", "openai-responses", "anthropic"]
)
def test_llamacpp(backend):
    record = ask("LLAMACPP", backend, "tiny")
    assert record.success, (record.error_kind, record.error)
    assert (record.output_len, record.input_tokens > 4) == (N, True)
    # Completions end in a chunk of choices without text; the responses API calls an answer of the
    # asked length complete.
    assert len(record.token_times) == N + (backend == "openai")
    assert record.finish_reason == ("stop" if backend == "openai-responses" else "length")
    assert record.text
    long = ask("LLAMACPP", backend, "tiny", SampleRequest("word " * 100_000, 100_000, 5))
    assert (long.success, long.error_kind) == (False, "http_400")
    assert "exceeds the available context size" in long.error


@pytest.mark.parametrize(
    ("backend", "more"),
    [
        ("openai", {"repetition_penalty": None}),
        ("openai-chat", {"max_tokens": N}),
        ("openai-responses", {}),
    ],
)
def test_transformers(backend, more):
    model = os.environ.get("LLMBENCH_REAL_TRANSFORMERS_MODEL", "m")
    record = ask("TRANSFORMERS", backend, model, extra_body=more)
    assert record.success, (record.error_kind, record.error)
    assert (record.output_len, record.input_tokens > 4, len(record.token_times) <= N) == (
        N,
        True,
        True,
    )
