"""Each fault, seen from the wire. Where a fault applies by header it costs one request and nothing
else.
"""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.simulator.faults import HELP, NONE, Faults, parse_faults
from llmbench_locust.simulator.launch import SimProcess, launch
from tests.simulator.wire import MESSAGES, Answer, Connection, get, post

#: A request of six tokens for each streaming protocol.
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "a b",
        "max_tokens": 6,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/chat/completions": {
        "messages": MESSAGES,
        "max_tokens": 6,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/responses": {"input": "a", "max_output_tokens": 6, "stream": True},
    "/generate_stream": {"inputs": "a b", "parameters": {"max_new_tokens": 6}},
    "/generate": {"text": "a b", "sampling_params": {"max_new_tokens": 6}, "stream": True},
    "/v2/models/ensemble/generate_stream": {"text_input": "a b", "max_tokens": 6},
    "/completion": {"prompt": "a b", "n_predict": 6, "stream": True},
    "/api/generate": {"prompt": "a b", "options": {"num_predict": 6}},
    "/api/chat": {"messages": MESSAGES, "options": {"num_predict": 6}},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 6, "stream": True},
}
COMPLETIONS = STREAMS["/v1/completions"]


def faulty(sim: SimProcess, fault: str, path: str = "/v1/completions") -> Answer:
    return post(sim.url, path, STREAMS[path], {"x-sim-fault": fault})


def texts(answer: Answer) -> list[str]:
    return [event["choices"][0]["text"] for event in answer.events if event["choices"]]


@pytest.mark.parametrize("status", [429, 503])
def test_overload_has_retry_after(sim: SimProcess, status: int) -> None:
    answer = faulty(sim, f"status={status},retry_after=3")
    assert (answer.status, answer.headers["retry-after"]) == (status, "3")
    assert answer.json["error"]["code"] == status
    assert faulty(sim, f"status={status}").headers["retry-after"] == "1"


def test_html_of_a_proxy(sim: SimProcess) -> None:
    for status in (502, 200):
        answer = faulty(sim, f"html={status}")
        assert (answer.status, answer.headers["content-type"]) == (status, "text/html")
        assert answer.body.startswith(b"<html>")


def test_disconnect(sim: SimProcess) -> None:
    connection = Connection(sim.url)
    connection.send("/v1/completions", COMPLETIONS, {"x-sim-fault": "disconnect"})
    assert connection.receive() is None
    connection.close()


@pytest.mark.parametrize("path", STREAMS)
def test_error_event_in_a_stream(sim: SimProcess, path: str) -> None:
    answer = faulty(sim, "error=2", path)
    assert answer.status == 200
    assert answer.ended
    events = (
        [orjson.loads(line) for line in answer.body.splitlines()]
        if path.startswith("/api")
        else answer.events
    )
    failed = [event for event in events if "EngineCore encountered an issue" in str(event)]
    assert len(failed) == 1
    assert failed[0] is events[-1]
    assert ("error" in failed[0]) or failed[0]["type"] == "error"


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_cut_stream(sim: SimProcess, path: str, fault: str) -> None:
    whole = faulty(sim, "no_space", path)
    answer = faulty(sim, f"{fault}=3", path)
    assert whole.ended
    assert not answer.ended
    assert 0 < len(answer.body) < len(whole.body)
    assert b"[DONE]" not in answer.body


def test_cut_body_that_is_no_stream(sim: SimProcess) -> None:
    answer = post(
        sim.url, "/v1/completions", {"prompt": "a", "max_tokens": 6}, {"x-sim-fault": "cut=3"}
    )
    assert not answer.ended
    assert 0 < len(answer.body) < int(answer.headers["content-length"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": 6}),
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_faults_of_a_body_that_is_no_stream(
    sim: SimProcess, path: str, body: dict[str, Any]
) -> None:
    for fault in ("cut", "reset"):
        answer = post(sim.url, path, body, {"x-sim-fault": fault})
        assert not answer.ended
    for fault in ("stall=1,stall_s=0.3", "slow_head=0.3"):
        answer = post(sim.url, path, body, {"x-sim-fault": fault})
        assert answer.ended
        assert answer.json
        assert answer.times[0] - answer.sent_s > 0.29
    failed = post(sim.url, path, body, {"x-sim-fault": "error=3"})
    assert (failed.status, failed.json["error"]["code"]) == (500, 500)
    connection = Connection(sim.url, timeout_s=0.2)
    connection.send(path, body, {"x-sim-fault": "stall"})
    with pytest.raises(TimeoutError):
        connection.receive()
    connection.close()


def test_stall_lasts_until_the_client_goes(sim: SimProcess) -> None:
    connection = Connection(sim.url)
    connection.send(
        "/v1/completions", COMPLETIONS, {"x-sim-fault": "stall=2", "x-request-id": "stalled"}
    )
    for _ in range(2):
        connection._until(b"\n\n\r\n")
    connection.sock.settimeout(0.4)
    with pytest.raises(TimeoutError):
        connection.receive()
    assert connection.buffer == b""
    connection.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = [
            entry
            for entry in get(sim.url, "/sim/stats").json["requests"]
            if entry["request_id"] == "stalled"
        ]
        if seen[0]["outcome"] != "running":
            break
        time.sleep(0.02)
    assert (seen[0]["outcome"], seen[0]["sent_tokens"]) == ("gone", 2)


def test_stall_of_some_seconds(sim: SimProcess) -> None:
    answer = faulty(sim, "stall=2,stall_s=1")
    assert answer.ended
    assert len(texts(answer)) == 6
    assert answer.times[2] - answer.times[1] > 0.25  # less than 1 where this process stood still


def test_slow_head(sim: SimProcess) -> None:
    answer = faulty(sim, "slow_head=0.3")
    assert answer.ended
    assert len(texts(answer)) == 6
    assert answer.times[0] - answer.sent_s > 0.29


def test_missing_usage(sim: SimProcess) -> None:
    assert all("usage" not in event for event in faulty(sim, "no_usage").events)
    whole = post(sim.url, "/v1/completions", {"prompt": "a"}, {"x-sim-fault": "no_usage"})
    assert "usage" not in whole.json
    assert "completion_tokens" not in faulty(sim, "no_usage", "/generate").events[-1]["meta_info"]
    assert "tokens_predicted" not in faulty(sim, "no_usage", "/completion").events[-1]
    assert faulty(sim, "no_usage", "/generate_stream").events[-1]["details"] is None
    assert b"eval_count" not in faulty(sim, "no_usage", "/api/chat").body
    assert b"output_tokens" not in faulty(sim, "no_usage", "/v1/messages").body
    assert faulty(sim, "no_usage", "/v1/responses").events[-1]["response"]["usage"] is None


def test_usage_in_odd_places(sim: SimProcess) -> None:
    events = faulty(sim, "usage_with_choices").events
    assert [bool(event["choices"]) for event in events] == [True] * 6
    assert [event.get("usage") for event in events] == [None] * 5 + [
        {"prompt_tokens": 2, "total_tokens": 8, "completion_tokens": 6}
    ]
    assert [event["usage"]["completion_tokens"] for event in faulty(sim, "usage_every").events] == [
        1,
        2,
        3,
        4,
        5,
        6,
        6,
    ]


def test_several_tokens_in_a_chunk(sim: SimProcess) -> None:
    single = texts(faulty(sim, "no_space"))
    several = faulty(sim, "tokens_per_chunk=4")
    assert texts(several) == ["".join(single[:4]), "".join(single[4:])]
    assert several.events[-1]["usage"]["completion_tokens"] == 6
    counts = [
        event["meta_info"]["completion_tokens"]
        for event in faulty(sim, "tokens_per_chunk=4", "/generate").events
    ]
    assert counts == [4, 6]


def test_an_event_is_reasoning_or_answer_and_never_both(sim: SimProcess) -> None:
    headers = {"x-sim-fault": "tokens_per_chunk=4", "x-sim-reasoning": "5"}
    body = {"messages": MESSAGES, "max_tokens": 11, "stream": True}
    single = post(sim.url, "/v1/chat/completions", body, {"x-sim-reasoning": "5"})
    several = post(sim.url, "/v1/chat/completions", body, headers)

    def joined(answer: Answer, name: str) -> str:
        return "".join(event["choices"][0]["delta"].get(name, "") for event in answer.events)

    assert len(several.events) == 1 + 2 + 2
    assert joined(several, "reasoning") == joined(single, "reasoning")
    assert joined(several, "content") == joined(single, "content")


def test_pings(sim: SimProcess) -> None:
    answer = faulty(sim, "pings=2")
    comments = [line for line in answer.body.split(b"\n") if line.startswith(b":")]
    assert comments == [b": ping - 0", b": ping - 2", b": ping - 4"]
    assert len(texts(answer)) == 6


def test_split_cuts_inside_a_character(sim: SimProcess) -> None:
    answer = faulty(sim, "split,unicode")
    assert len(answer.chunks) > 3 * 6
    inside = 0
    for chunk in answer.chunks:
        try:
            chunk.decode()
        except UnicodeDecodeError:
            inside += 1
    assert inside
    assert not any(
        chunk.endswith(b"\n\n") and chunk.startswith(b"data: {") for chunk in answer.chunks
    )
    assert texts(answer) == texts(faulty(sim, "unicode"))
    assert answer.data[-1] == "[DONE]"


def test_glue(sim: SimProcess) -> None:
    answer = faulty(sim, "glue=4")
    assert [chunk.count(b"data: ") for chunk in answer.chunks] == [4, 4]
    assert answer.data[-1] == "[DONE]"


def test_crlf_and_no_space(sim: SimProcess) -> None:
    answer = faulty(sim, "crlf,no_space")
    assert answer.body.count(b"\r\n\r\n") == answer.body.count(b"data:") == 8
    assert answer.body.count(b"\n") == answer.body.count(b"\r\n")
    assert b"data: " not in answer.body
    assert len(texts(answer)) == 6


def test_broken_json(sim: SimProcess) -> None:
    answer = faulty(sim, "broken_json=2")
    broken = []
    for index, data in enumerate(answer.data[:-1]):
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            broken.append(index)
    assert broken == [2]
    whole = post(sim.url, "/v1/completions", {"prompt": "a"}, {"x-sim-fault": "broken_json"})
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(whole.body)


def test_no_tokens_at_all(sim: SimProcess) -> None:
    answer = faulty(sim, "empty")
    assert (answer.status, answer.data, answer.ended) == (200, ["[DONE]"], True)


def test_missing_end_markers(sim: SimProcess) -> None:
    no_done = faulty(sim, "no_done")
    assert no_done.ended
    assert "[DONE]" not in no_done.data
    assert no_done.events[5]["choices"][0]["finish_reason"] == "length"
    no_end = faulty(sim, "no_end")
    assert no_end.ended
    assert "[DONE]" not in no_end.data
    assert [event["choices"][0]["finish_reason"] for event in no_end.events] == [None] * 6


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        ("/v1/messages", b"message_stop"),
        ("/v1/responses", b"response.completed"),
        ("/completion", b'"stop":true'),
        ("/api/chat", b'"done":true'),
        ("/generate_stream", b'"generated_tokens"'),
    ],
)
def test_missing_end_of_other_protocols(sim: SimProcess, path: str, mark: bytes) -> None:
    assert mark in faulty(sim, "no_space", path).body.replace(b"data:", b"data: ")
    answer = faulty(sim, "no_end", path)
    assert answer.ended
    assert mark not in answer.body


def test_chunks_after_the_end_marker(sim: SimProcess) -> None:
    answer = faulty(sim, "trailing")
    assert answer.data.count("[DONE]") == 2
    assert answer.data[-2] != "[DONE]"


def test_short_and_empty_texts(sim: SimProcess) -> None:
    answer = faulty(sim, "short=2")
    assert len(texts(answer)) == 2
    assert answer.events[1]["choices"][0]["finish_reason"] == "stop"
    assert answer.events[-1]["usage"]["completion_tokens"] == 2
    assert texts(faulty(sim, "empty_text")) == [""] * 6


def test_the_connection_is_usable_after_a_fault_inside_the_body(sim: SimProcess) -> None:
    connection = Connection(sim.url)
    for fault in (
        "status=500",
        "html",
        "error=1",
        "split",
        "no_end",
        "stall=1,stall_s=0.05",
        "slow_head=0.05",
        "",
    ):
        connection.send("/v1/completions", COMPLETIONS, {"x-sim-fault": fault})
        answer = connection.receive()
        assert answer is not None
        assert answer.ended
    connection.close()


def test_rates_by_flag_hit_their_share_and_repeat_by_seed() -> None:
    def run(seed: str) -> list[int]:
        flags = [
            "--clock",
            "fixed",
            "--ttft-ms",
            "0",
            "--itl-ms",
            "0",
            "--count",
            "words",
            "--seed",
            seed,
        ]
        with launch([*flags, "--error-rate", "0.3"]) as process:
            connection = Connection(process.url)
            statuses = []
            for _ in range(150):
                connection.send("/v1/completions", {"prompt": "x", "max_tokens": 1})
                answer = connection.receive()
                assert answer is not None
                statuses.append(answer.status)
            connection.close()
        return statuses

    first = run("1")
    assert first == run("1")
    assert first != run("2")
    assert set(first) == {200, 500}
    assert 20 <= first.count(500) <= 70  # 45 expected; five standard deviations


def test_unknown_faults_are_refused_in_one_line(sim: SimProcess) -> None:
    answer = faulty(sim, "explode")
    assert (
        answer.status,
        "x-sim-fault: unknown fault 'explode'" in answer.json["error"]["message"],
    ) == (400, True)
    for bad in ("nope", "status=12", "cut=x", "cut=1.5", "glue=0"):
        with pytest.raises(ConfigError, match=r"^--fault: "):
            parse_faults(bad)


def test_parsing() -> None:
    assert parse_faults("") is NONE
    assert parse_faults("cut=3, pings,stall-s=0.5") == Faults(cut=3, pings=1, stall_s=0.5)
    assert set(HELP) == set(Faults.__dataclass_fields__)
