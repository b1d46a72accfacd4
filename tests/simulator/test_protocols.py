"""The other servers' protocols: token events, counts and ends as wire.md names them, streaming and
not.
"""

from __future__ import annotations

import base64
import io
import itertools
import struct
import wave
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from llmbench_locust.simulator.launch import SimProcess
from tests.simulator.wire import MESSAGES, Answer, post

GOLD = Path(__file__).parents[1] / "data" / "streams"


def gold(name: str) -> Answer:
    return Answer(200, {}, [(GOLD / name).read_bytes()], [], True)


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\0\0" * int(16_000 * seconds))
    return file.getvalue()


def test_responses(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/v1/responses", {"input": "a b", "max_output_tokens": 3, "stream": True}
    )
    assert answer.names == gold("vllm-responses.sse").names
    assert [event["type"] for event in answer.events] == answer.names
    assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
    final = answer.events[-1]["response"]
    assert final["usage"]["output_tokens"] == 3
    assert final["status"] == "incomplete"
    deltas = "".join(event["delta"] for event in answer.events if event["type"].endswith(".delta"))
    whole = post(sim.url, "/v1/responses", {"input": "a b", "max_output_tokens": 3}).json
    assert (
        whole["output"][0]["content"][0]["text"]
        == deltas
        == final["output"][0]["content"][0]["text"]
    )
    assert whole["usage"] == final["usage"]


def test_responses_with_reasoning(sim: SimProcess) -> None:
    body = {"input": [{"role": "user", "content": "a"}], "max_output_tokens": 3, "stream": True}
    answer = post(sim.url, "/v1/responses", body, {"x-sim-reasoning": "2"})
    kinds = [event["type"] for event in answer.events if event["type"].endswith(".delta")]
    assert kinds == ["response.reasoning_text.delta"] * 2 + ["response.output_text.delta"]
    assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
    assert answer.events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] == 2
    assert [
        event["output_index"] for event in answer.events if event["type"].endswith(".delta")
    ] == [0, 0, 1]


def test_transcription_is_a_multipart_form(sim: SimProcess) -> None:
    url = sim.url + "/v1/audio/transcriptions"
    form: dict[str, Any] = {"model": "m", "max_completion_tokens": "2", "language": "en"}
    files = {"file": ("a.wav", wav(0.5), "audio/wav")}
    streamed = requests.post(
        url,
        data={**form, "stream": "true", "stream_include_usage": "true"},
        files=files,
        timeout=150,
    )
    answer = Answer(200, {}, [streamed.content], [], True)
    assert [event["object"] for event in answer.events] == ["transcription.chunk"] * 3
    text = "".join(event["choices"][0]["delta"]["content"] for event in answer.events[:2])
    assert answer.events[2]["usage"] == {
        "prompt_tokens": 25,
        "total_tokens": 27,
        "completion_tokens": 2,
    }
    assert answer.data[-1] == "[DONE]"
    whole = requests.post(url, data=form, files=files, timeout=60).json()
    assert whole == {"text": text, "usage": {"type": "duration", "seconds": 1}}
    assert requests.post(url, json={"file": "x"}, timeout=60).status_code == 400


def test_embeddings(sim: SimProcess) -> None:
    answer = post(
        sim.url,
        "/v1/embeddings",
        {"model": "m", "input": ["a b", "c"], "truncate_prompt_tokens": -1},
    ).json
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert len(answer["data"][0]["embedding"]) == 64
    assert answer["usage"]["prompt_tokens"] == 3
    ids = post(
        sim.url,
        "/v1/embeddings",
        {"input": [4, 5, 6], "encoding_format": "base64", "dimensions": 5},
    ).json
    vector = struct.unpack("<5f", base64.b64decode(ids["data"][0]["embedding"]))
    assert sum(value * value for value in vector) == pytest.approx(1)
    assert ids["usage"]["prompt_tokens"] == 3
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    chat = [{"role": "user", "content": [image, {"type": "text", "text": "one two"}]}]
    assert post(sim.url, "/v1/embeddings", {"messages": chat}).json["usage"]["prompt_tokens"] == 2


def test_infinity_pooling_and_rerank(sim: SimProcess) -> None:
    assert len(post(sim.url, "/embeddings", {"input": "a"}).json["data"]) == 1
    image = {"input": "data:image/png;base64," + "A" * 1600, "modality": "image"}
    assert post(sim.url, "/embeddings", image).json["usage"]["prompt_tokens"] == 2
    assert post(sim.url, "/pooling", {"input": "a b"}).json["data"][0]["object"] == "pooling"
    for path in ("/v1/rerank", "/rerank"):
        answer = post(sim.url, path, {"query": "q", "documents": ["x y", "z"]}).json
        assert [result["document"]["text"] for result in answer["results"]] == ["x y", "z"]
        assert answer["usage"]["prompt_tokens"] == 2 * 1 + 3


def test_tgi(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/generate_stream", {"inputs": "a b", "parameters": {"max_new_tokens": 3}}
    )
    assert answer.body.startswith(b'data:{"index":1,')
    assert [event["generated_text"] is None for event in answer.events] == [True, True, False]
    text = "".join(event["token"]["text"] for event in answer.events)
    details = {"finish_reason": "length", "generated_tokens": 3, "seed": None, "input_length": 2}
    assert (answer.events[-1]["generated_text"], answer.events[-1]["details"]) == (text, details)
    assert answer.ended
    refused = post(sim.url, "/generate_stream", {"inputs": 3})
    assert refused.status == 422
    assert set(refused.json) == {"error", "error_type"}


def test_sglang_repeats_the_text_so_far(sim: SimProcess) -> None:
    body = {"text": "a b", "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}}
    answer = post(sim.url, "/generate", {**body, "stream": True})
    texts = [event["text"] for event in answer.events]
    assert all(
        longer.startswith(shorter) and len(longer) > len(shorter)
        for shorter, longer in itertools.pairwise(texts)
    )
    assert [event["meta_info"]["completion_tokens"] for event in answer.events] == [1, 2, 3, 4]
    assert answer.events[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 4}
    assert answer.data[-1] == "[DONE]"
    assert post(sim.url, "/generate", body).json["text"] == texts[-1]


def test_tensorrt_llm(sim: SimProcess) -> None:
    path = "/v2/models/ensemble/generate_stream"
    answer = post(sim.url, path, {"text_input": "a", "max_tokens": 3, "stream": True})
    summed = post(
        sim.url,
        path,
        {"text_input": "a", "max_tokens": 3, "accumulate_tokens": True, "stream": True},
    )
    pieces = [event["text_output"] for event in answer.events]
    assert [event["text_output"] for event in summed.events] == [
        pieces[0],
        pieces[0] + pieces[1],
        "".join(pieces),
    ]
    assert answer.ended
    whole = post(sim.url, "/v2/models/ensemble/generate", {"text_input": "a", "max_tokens": 3})
    assert whole.json["text_output"] == "".join(pieces)


def test_llama_cpp(sim: SimProcess) -> None:
    answer = post(sim.url, "/completion", {"prompt": "a b", "n_predict": 3, "stream": True})
    assert [event["stop"] for event in answer.events] == [False, False, False, True]
    assert all(event["content"] for event in answer.events[:3])
    final = answer.events[-1]
    assert (final["content"], final["tokens_predicted"], final["tokens_evaluated"]) == ("", 3, 2)
    whole = post(sim.url, "/completion", {"prompt": "a b", "n_predict": 3}).json
    assert whole["content"] == "".join(event["content"] for event in answer.events)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_ollama(sim: SimProcess, path: str) -> None:
    body = {"model": "m", "prompt": "a b", "messages": MESSAGES, "options": {"num_predict": 3}}

    def text(line: Any) -> str:
        content: str = line["response"] if path.endswith("generate") else line["message"]["content"]
        return content

    answer = post(sim.url, path, body, {"x-sim-reasoning": "1"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [orjson.loads(line) for line in answer.body.splitlines()]
    assert [line["done"] for line in lines] == [False, False, False, True]
    assert [bool(text(line)) for line in lines] == [False, True, True, False]
    assert lines[-1]["eval_count"] == 3
    assert lines[-1]["prompt_eval_count"] == (2 if path.endswith("generate") else 3 + 4 + 3)
    whole = post(sim.url, path, {**body, "stream": False}).json
    assert (whole["done"], len(text(whole).split())) == (True, 3)


def test_anthropic(sim: SimProcess) -> None:
    answer = post(sim.url, "/v1/messages", {"messages": MESSAGES, "max_tokens": 6, "stream": True})
    expected = gold("vllm-anthropic-messages.sse")
    assert answer.names == expected.names
    assert [sorted(event) for event in answer.events] == [
        sorted(event) for event in expected.events
    ]
    assert answer.events[0]["message"]["usage"] == {"input_tokens": 3 + 4 + 3, "output_tokens": 0}
    assert answer.events[-2]["usage"]["output_tokens"] == 6
    assert answer.events[-2]["delta"]["stop_reason"] == "max_tokens"
    text = "".join(
        event["delta"]["text"] for event in answer.events if event["type"] == "content_block_delta"
    )
    assert (
        post(sim.url, "/v1/messages", {"messages": MESSAGES, "max_tokens": 6}).json["content"][0][
            "text"
        ]
        == text
    )
    assert post(sim.url, "/v1/messages", {"messages": MESSAGES}).json["type"] == "error"


def test_anthropic_blocks_of_thinking_and_tool_use(sim: SimProcess) -> None:
    headers = {"x-sim-reasoning": "2", "x-sim-tool-calls": "1"}
    answer = post(
        sim.url, "/v1/messages", {"messages": MESSAGES, "max_tokens": 4, "stream": True}, headers
    )
    deltas = [event for event in answer.events if event["type"] == "content_block_delta"]
    assert [event["delta"]["type"] for event in deltas] == ["thinking_delta"] * 2 + [
        "input_json_delta"
    ] * 2
    assert [event["index"] for event in deltas] == [0, 0, 1, 1]
    starts = [
        event["content_block"]["type"]
        for event in answer.events
        if event["type"] == "content_block_start"
    ]
    assert starts == ["thinking", "tool_use"]
    assert answer.names.count("content_block_stop") == 2
