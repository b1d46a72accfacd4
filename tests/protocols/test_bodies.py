"""What each backend sends, to the field: bodies, targets, headers, and the order in which later
fields win.
"""

from email.parser import BytesParser

import orjson
import pytest

from llmbench_locust.backends import BACKENDS
from llmbench_locust.errors import ConfigError
from llmbench_locust.users.protocols import protocol_for
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol

PLAIN = SampleRequest("hi", 7, 5, request_id="q-1")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA"}}
TEXT = {"type": "text", "text": "hi"}


def sent(backend, sample=PLAIN, **more):
    request = protocol(backend, **more).request(sample)
    return orjson.loads(request.body)


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


EXPECTED = {
    "openai": {
        "model": "m", "prompt": "hi", "repetition_penalty": 1.0, "temperature": 0.0,
        "max_tokens": 5,
        "stream": True, "stream_options": {"include_usage": True},
    },
    "openai-chat": {
        "model": "m", "messages": user(TEXT), "temperature": 0.0, "max_completion_tokens": 5,
        "stream": True, "stream_options": {"include_usage": True},
    },
    "openai-responses": {
        "model": "m", "input": "hi", "max_output_tokens": 5, "temperature": 0.0, "stream": True,
        "store": False,
    },
    "tgi": {
        "inputs": "hi",
        "parameters": {
            "max_new_tokens": 5, "do_sample": True, "temperature": 0.01, "top_p": 0.99,
            "truncate": 7, "details": True,
        },
    },
    "sglang": {"text": "hi", "sampling_params": {"temperature": 0.0, "max_new_tokens": 5},
    "stream": True},
    "tensorrt-llm": {
        "text_input": "hi", "max_tokens": 5, "temperature": 0.0, "top_p": 1.0,
        "accumulate_tokens": False, "stream": True,
    },
    "llama.cpp": {"prompt": "hi", "n_predict": 5, "temperature": 0.0, "stream": True},
    "ollama": {"model": "m", "prompt": "hi", "stream": True, "options": {"num_predict": 5,
    "temperature": 0.0}},
    "anthropic": {
        "model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.0, "stream": True,
    },
    "openai-embeddings": {"model": "m", "input": "hi", "truncate_prompt_tokens": -1},
    "openai-embeddings-chat": {"model": "m", "messages": user(TEXT), "truncate_prompt_tokens": -1},
    "openai-embeddings-clip": {"model": "m", "messages": user(TEXT), "truncate_prompt_tokens": -1},
    "openai-embeddings-vlm2vec": {"model": "m", "messages": user(TEXT),
    "truncate_prompt_tokens": -1},
    "infinity-embeddings": {"model": "m", "input": "hi"},
    "infinity-embeddings-clip": {"model": "m", "input": "hi"},
    "vllm-pooling": {"model": "m", "input": "hi", "truncate_prompt_tokens": -1},
}  # fmt: skip
EXPECTED["vllm"] = EXPECTED["openai"]


@pytest.mark.parametrize("backend", EXPECTED)
def test_the_body(backend):
    assert sent(backend) == EXPECTED[backend]


def test_rerank():
    body = sent("vllm-rerank", SampleRequest(["q", "a", "b"], 3, 0))
    assert body == {
        "model": "m",
        "query": "q",
        "documents": ["a", "b"],
        "truncate_prompt_tokens": -1,
    }
    for prompt in ("q", ["q"]):
        with pytest.raises(ConfigError, match="--backend: vllm-rerank"):
            sent("vllm-rerank", SampleRequest(prompt, 1, 0))


def test_each_name_has_a_class_that_bears_it():
    for name, info in BACKENDS.items():
        assert protocol_for(name).info is info


@pytest.mark.parametrize(
    "backend",
    [name for name, info in BACKENDS.items() if name not in ("openai-audio", "vllm-rerank")],
)
def test_headers_and_target(backend):
    request = protocol(backend, api_key="secret-key", headers={"X-Team": "a"}).request(PLAIN)
    assert request.target == BACKENDS[backend].endpoint
    own = {"Authorization": "Bearer secret-key"}
    if backend == "anthropic":
        own = {"x-api-key": "secret-key", "anthropic-version": "2023-06-01"}
    assert request.headers == {
        "Content-Type": "application/json",
        **own,
        "X-Team": "a",
        "x-request-id": "q-1",
    }
    bare = protocol(backend).request(SampleRequest("hi", 1, 1)).headers
    assert not {"Authorization", "x-api-key", "x-request-id"} & set(bare)


@pytest.mark.parametrize(
    ("backend", "place"),
    [
        ("openai", ()),
        ("openai-chat", ()),
        ("tgi", ("parameters",)),
        ("sglang", ("sampling_params",)),
        ("tensorrt-llm", ()),
        ("llama.cpp", ()),
        ("ollama", ("options",)),
        ("anthropic", ()),
    ],
)
def test_the_order_of_merging(backend, place):
    def inside(fields):
        return {place[0]: fields} if place else fields

    def at(body):
        return body[place[0]] if place else body

    sample = SampleRequest("hi", 7, 5, body_overrides=inside({"top_p": 0.3}))
    assert at(sent(backend, sampling={"top_p": 0.1}))["top_p"] == 0.1
    assert (
        at(sent(backend, sampling={"top_p": 0.1}, extra_body=inside({"top_p": 0.2})))["top_p"]
        == 0.2
    )
    both = at(
        sent(backend, sample, sampling={"top_p": 0.1}, extra_body=inside({"top_p": 0.2, "seed": 3}))
    )
    assert (both["top_p"], both["seed"]) == (0.3, 3)
    # What nobody replaced is still there.
    assert 5 in both.values()


def test_a_null_takes_a_field_away():
    body = sent("openai", extra_body={"repetition_penalty": None, "stop": None})
    assert "repetition_penalty" not in body
    assert body["stop"] is None
    options = sent("ollama", extra_body={"options": {"temperature": None, "num_ctx": 9}})["options"]
    assert options == {"num_predict": 5, "num_ctx": 9}


def test_other_objects_are_replaced_whole():
    body = sent("openai", extra_body={"stream_options": {"continuous_usage_stats": True}})
    assert body["stream_options"] == {"continuous_usage_stats": True}


@pytest.mark.parametrize("backend", [name for name, info in BACKENDS.items() if info.ignore_eos])
def test_ignore_eos(backend):
    body = sent(backend, ignore_eos=True)
    assert (body["sampling_params"] if backend == "sglang" else body)["ignore_eos"] is True


@pytest.mark.parametrize(("backend", "place"), [("llama.cpp", None), ("ollama", "options")])
def test_a_parameter_under_another_name(backend, place):
    body = sent(backend, sampling={"repetition_penalty": 1.2})
    body = body[place] if place else body
    assert body["repeat_penalty"] == 1.2
    assert "repetition_penalty" not in body


def test_tgi_gets_what_it_accepts():
    parameters = sent("tgi", sampling={"temperature": 0.0, "top_p": 1.0, "top_k": -1})["parameters"]
    assert (parameters["temperature"], parameters["top_p"]) == (0.01, 0.99)
    assert "top_k" not in parameters
    parameters = sent(
        "tgi", SampleRequest("hi", 0, None), sampling={"temperature": 0.7, "top_k": 5}
    )["parameters"]
    assert (parameters["temperature"], parameters["top_k"]) == (0.7, 5)
    assert not {"truncate", "max_new_tokens"} & set(parameters)


def test_logprobs():
    assert sent("openai", logprobs=3)["logprobs"] == 3
    chat = sent("openai-chat", logprobs=3)
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 3)


def test_lora_names_the_model():
    assert orjson.loads(protocol("openai").request(PLAIN, "lora-1").body)["model"] == "lora-1"
    assert orjson.loads(protocol("sglang").request(PLAIN, "lora-1").body)["lora_path"] == "lora-1"


def test_the_endpoint_says_which_of_ollamas_it_is():
    body = sent("ollama", endpoint="/api/chat")
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert "prompt" not in body


MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


def test_messages_go_as_they_are():
    sample = SampleRequest("ignored", 1, 5, chat_messages=MESSAGES)
    assert sent("openai-chat", sample)["messages"] == MESSAGES
    assert sent("openai-chat", SampleRequest(MESSAGES, 1, 5))["messages"] == MESSAGES
    assert sent("openai-responses", sample)["input"] == MESSAGES
    assert sent("ollama", sample, endpoint="/api/chat")["messages"] == MESSAGES
    anthropic = sent("anthropic", sample)
    assert (anthropic["system"], anthropic["messages"]) == ("be brief", MESSAGES[1:])


def test_content_parts_as_a_prompt():
    assert sent("openai-chat", SampleRequest([TEXT, IMAGE], 1, 5))["messages"] == user(TEXT, IMAGE)


def test_media():
    sample = SampleRequest("hi", 1, 5, request_id="q-1", multi_modal=IMAGE)
    assert sent("openai-chat", sample)["messages"] == user(TEXT, IMAGE)
    assert sent("openai-chat", SampleRequest("hi", 1, 5, multi_modal=[IMAGE, IMAGE]))[
        "messages"
    ] == user(TEXT, IMAGE, IMAGE)
    assert sent("openai-embeddings-chat", sample)["messages"] == user(TEXT, IMAGE)
    assert sent("openai-embeddings-clip", sample)["messages"] == user(
        {"type": "text", "text": ""}, IMAGE
    )
    for backend in ("infinity-embeddings", "infinity-embeddings-clip"):
        assert sent(backend, sample) == {
            "model": "m",
            "input": IMAGE["image_url"]["url"],
            "modality": "image",
        }


@pytest.mark.parametrize(
    "sample",
    [
        SampleRequest("hi", 1, 0, multi_modal=[IMAGE, IMAGE]),
        SampleRequest([TEXT, IMAGE, IMAGE], 1, 0),
        SampleRequest("x", 1, 0, chat_messages=user(TEXT, IMAGE, IMAGE)),
        SampleRequest(user(TEXT, IMAGE, IMAGE), 1, 0),
    ],
)
def test_infinity_finds_the_images_wherever_they_are(sample):
    url = IMAGE["image_url"]["url"]
    assert sent("infinity-embeddings", sample) == {
        "model": "m",
        "input": [url, url],
        "modality": "image",
    }
    assert protocol("infinity-embeddings").sequences(sample) == 2


def test_infinity_gets_the_text_of_messages():
    sample = SampleRequest("x", 1, 0, chat_messages=user(TEXT))
    assert sent("infinity-embeddings", sample) == {"model": "m", "input": "hi"}


@pytest.mark.parametrize(
    ("request_id", "text"),
    [
        ("bench-4", "Represent the given image."),
        ("bench-13", "Represent the given image with the following question: hi"),
        ("", "Represent the given image."),
    ],
)
def test_vlm2vec(request_id, text):
    sample = SampleRequest("hi", 1, 0, request_id=request_id, multi_modal=IMAGE)
    assert sent("openai-embeddings-vlm2vec", sample)["messages"] == user(
        IMAGE, {"type": "text", "text": text}
    )


def test_token_ids():
    ids = SampleRequest([1, 2, 3], 3, 5)
    assert sent("openai", ids)["prompt"] == [1, 2, 3]
    assert sent("sglang", ids)["input_ids"] == [1, 2, 3]
    assert sent("openai-embeddings", SampleRequest([[1], [2]], 2, 0))["input"] == [[1], [2]]


def test_a_text_that_utf8_cannot_hold():
    body = protocol("openai").request(SampleRequest("a\ud800b", 1, 5)).body
    assert b'"a\\ud800b"' in body


def parts_of(request):
    raw = b"Content-Type: " + request.headers["Content-Type"].encode() + b"\r\n\r\n" + request.body
    message = BytesParser().parsebytes(raw)
    assert message.is_multipart()
    return {
        part.get_param("name", header="content-disposition"): part for part in message.get_payload()
    }


def test_the_form_of_audio():
    media = {"audio": b"RIFF of a tone", "filename": "tone.wav", "duration_s": 0.5}
    sample = SampleRequest("", 1, 9, request_id="q-1", multi_modal=media)
    spoken = protocol("openai-audio", extra_body={"language": "de", "prompt": {"a": [1]}})
    request = spoken.request(sample)
    parts = parts_of(request)
    file = parts.pop("file")
    assert file.get_filename() == "tone.wav"
    assert file.get_content_type() == "audio/wav"
    assert file.get_payload(decode=True) == b"RIFF of a tone"
    assert {name: part.get_payload() for name, part in parts.items()} == {
        "model": "m", "max_completion_tokens": "9", "stream": "true", "language": "de",
        "stream_include_usage": "true",
        "stream_continuous_usage_stats": "true", "temperature": "0.0", "prompt": '{"a": [1]}',
    }  # fmt: skip
    from llmbench_locust.users.protocols.audio import duration_s

    assert duration_s(sample) == 0.5


def test_audio_without_audio():
    with pytest.raises(ConfigError, match="has no audio"):
        protocol("openai-audio").request(PLAIN)


def test_a_content_type_of_the_user_does_not_break_the_form():
    media = {"audio": b"RIFF", "filename": 'a"b.flac'}
    request = protocol("openai-audio", headers={"content-type": "text/plain"}).request(
        SampleRequest("", 1, 9, multi_modal=media)
    )
    assert [n for n in request.headers if n.lower() == "content-type"] == ["Content-Type"]
    assert parts_of(request)["file"].get_content_type() == "application/octet-stream"


def test_lora_of_tgi():
    assert (
        orjson.loads(protocol("tgi").request(PLAIN, "lora-1").body)["parameters"]["adapter_id"]
        == "lora-1"
    )
