"""The server around the answers: control endpoints, statistics, log, keys, TLS, IPv6, names that
would break JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from shutil import which

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmbench_locust.simulator.launch import SimProcess, launch
from llmbench_locust.transport.timestamps import stamps_work
from tests.simulator.wire import MESSAGES, Connection, get, post

GOLD = Path(__file__).parents[1] / "data" / "streams"
NO_PAUSE = {"x-sim-ttft-ms": "0", "x-sim-itl-ms": "0"}
FAST = ["--clock", "fixed", "--ttft-ms", "1", "--itl-ms", "1", "--count", "words"]


def sha(prompt: object) -> str:
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]


def test_models_and_health(sim: SimProcess) -> None:
    answer = get(sim.url, "/v1/models").json
    gold = orjson.loads((GOLD / "vllm-models.json").read_bytes())
    assert set(answer) == set(gold)
    assert set(answer["data"][0]) == set(gold["data"][0])
    assert answer["data"][0]["id"] == answer["data"][0]["root"] == "sim"
    assert get(sim.url, "/health").status == 200
    assert get(sim.url, "/nothing").status == 404
    assert get(sim.url, "/v1/completions").status == 405


def test_tokenize_and_detokenize_are_inverse(sim: SimProcess) -> None:
    text = "Round trips: é 日本 😀"
    tokens = post(sim.url, "/tokenize", {"prompt": text}).json
    assert set(tokens) == set(orjson.loads((GOLD / "vllm-tokenize.json").read_bytes()))
    assert tokens["count"] == len(tokens["tokens"])
    assert post(sim.url, "/detokenize", {"tokens": tokens["tokens"]}).json == {"prompt": text}
    assert post(sim.url, "/tokenize", {"prompt": 3}).status == 400
    assert post(sim.url, "/detokenize", {"tokens": [-1]}).status == 400


def test_metrics_are_prometheus_text_and_count_drafts() -> None:
    with launch(
        [*FAST, "--spec-tokens", "3", "--spec-acceptance", "0.5", "--model", 'a "quoted" \\ name']
    ) as sim:
        answers = [
            post(sim.url, "/v1/completions", {"prompt": f"p {i}", "max_tokens": 40, "stream": True})
            for i in range(5)
        ]
        text = get(sim.url, "/metrics").body.decode()
    samples = {
        (sample.name, sample.labels.get("position")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    chunks = sum(len(answer.events) for answer in answers)
    drafts = samples["vllm:spec_decode_num_drafts_total", None]
    accepted = samples["vllm:spec_decode_num_accepted_tokens_total", None]
    per_position = [
        samples["vllm:spec_decode_num_accepted_tokens_per_pos_total", str(k)] for k in range(3)
    ]
    assert samples["vllm:generation_tokens_total", None] == 200
    assert samples["vllm:prompt_tokens_total", None] == 10
    assert drafts == chunks
    assert samples["vllm:spec_decode_num_draft_tokens_total", None] == 3 * drafts
    assert accepted == 200 - drafts == sum(per_position)
    assert per_position == sorted(per_position, reverse=True)
    assert accepted > 0


def test_the_profiler_is_noted(sim: SimProcess) -> None:
    assert post(sim.url, "/start_profile", {}).status == 200
    assert post(sim.url, "/stop_profile", {}).status == 200
    assert get(sim.url, "/sim/stats").json["profiles"][-2:] == ["start", "stop"]


def test_log_has_each_request_once_with_its_arrival(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with launch([*FAST, "--log", str(log)]) as sim:
        connection = Connection(sim.url)
        sent = []
        for index in range(20):
            headers = {"x-request-id": f"r-{index}"}
            sent.append(
                connection.send(
                    "/v1/completions",
                    {"prompt": f"é {index}", "max_tokens": 2, "stream": True},
                    headers,
                )
            )
            assert connection.receive() is not None
        connection.send(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "é 3"}]}]},
        )
        assert connection.receive() is not None
        connection.close()
        stats = get(sim.url, "/sim/stats").json
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["id"] for line in lines[:20]] == [f"r-{index}" for index in range(20)]
    assert [line["sha"] for line in lines] == [sha(f"é {index}") for index in range(20)] + [
        sha("é 3")
    ]
    assert all(0 <= line["t"] - at < 5 for line, at in zip(lines, sent, strict=False))
    assert [entry["sha"] for entry in stats["requests"]] == [line["sha"] for line in lines]
    assert (stats["received"], stats["outcomes"], stats["connections"]) == (21, {"complete": 21}, 2)
    assert get_keys(stats["requests"][0]) >= {
        "t",
        "path",
        "headers",
        "status",
        "sent_tokens",
        "end",
    }


@pytest.mark.skipif(not stamps_work(), reason="no kernel arrival times")
@pytest.mark.parametrize("before", [0, 1])
def test_a_request_has_arrived_when_the_kernel_has_it(before: int) -> None:
    """``before``: requests on the same connection, while the simulator read at once."""
    prompt = {"prompt": "x", "max_tokens": 2, "stream": True}
    with launch(FAST) as sim:
        connection = Connection(sim.url)
        for _ in range(before):
            connection.send("/v1/completions", prompt)
            assert connection.receive() is not None
        os.kill(sim.pid, signal.SIGSTOP)
        sent = connection.send("/v1/completions", prompt)
        time.sleep(0.2)
        resumed = time.monotonic()
        os.kill(sim.pid, signal.SIGCONT)
        assert connection.receive() is not None
        connection.close()
        seen = get(sim.url, "/sim/stats").json["requests"][-1]
    assert sent - 0.001 < seen["t"] < resumed <= seen["first"]


def test_the_hash_is_of_sorted_keys(sim: SimProcess) -> None:
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    post(sim.url, "/v1/chat/completions", {"messages": messages, "max_tokens": 1})
    known = '[{"content": "be", "role": "system"}, {"content": "hi", "role": "user"}]'
    assert (
        get(sim.url, "/sim/stats").json["requests"][-1]["sha"]
        == hashlib.sha256(known.encode()).hexdigest()[:16]
    )


def get_keys(entry: dict[str, object]) -> set[str]:
    return set(entry)


def test_statistics_have_no_secrets_and_can_be_reset() -> None:
    with launch([*FAST, "--api-key", "s3cret"]) as sim:
        assert post(sim.url, "/v1/completions", {"prompt": "x"}).status == 401
        assert get(sim.url, "/v1/models").status == 401
        assert get(sim.url, "/health").status == 200
        for headers in ({"Authorization": "Bearer s3cret"}, {"x-api-key": "s3cret"}):
            assert (
                post(sim.url, "/v1/completions", {"prompt": "x", "max_tokens": 1}, headers).status
                == 200
            )
        answer = get(sim.url, "/sim/stats")
        assert b"s3cret" not in answer.body
        assert [entry["headers"].get("authorization") for entry in answer.json["requests"]] == [
            "given",
            None,
        ]
        assert answer.json["late"]["events"] >= 2
        assert 0 <= answer.json["late"]["mean_ms"] <= answer.json["late"]["max_ms"]
        post(sim.url, "/sim/reset", {})
        answer = get(sim.url, "/sim/stats")
        assert (answer.json["received"], answer.json["late"]) == (
            0,
            {"events": 0, "mean_ms": None, "max_ms": None},
        )


def test_peak_of_requests_in_flight() -> None:
    with launch([*FAST, "--ttft-ms", "2000"]) as sim:
        connections = [Connection(sim.url) for _ in range(7)]
        for connection in connections:
            connection.send("/v1/completions", {"prompt": "x", "max_tokens": 1, "stream": True})
        for connection in connections:
            assert connection.receive() is not None
            connection.close()
        stats = get(sim.url, "/sim/stats?requests=0").json
    assert (stats["peak_in_flight"], stats["in_flight"], "requests" in stats) == (7, 0, False)


def test_an_engine_with_few_places_serves_in_turn() -> None:
    with launch(["--step-ms", "20", "--max-num-seqs", "1", "--count", "words"]) as sim:
        connections = [Connection(sim.url) for _ in range(3)]
        for connection in connections:
            connection.send("/v1/completions", {"prompt": "x", "max_tokens": 5, "stream": True})
        answers = [connection.receive() for connection in connections]
    spans = sorted((answer.times[0], answer.times[-1]) for answer in answers if answer is not None)
    assert len(spans) == 3
    assert spans[0][1] < spans[1][0]
    assert spans[1][1] < spans[2][0]


def test_a_client_that_leaves_frees_its_place() -> None:
    with launch(["--step-ms", "20", "--max-num-seqs", "1", "--count", "words"]) as sim:
        leaver = Connection(sim.url)
        leaver.send("/v1/completions", {"prompt": "x", "max_tokens": 100_000, "stream": True})
        leaver._until(b"data:")
        leaver.close()
        assert post(
            sim.url, "/v1/completions", {"prompt": "x", "max_tokens": 2, "stream": True}
        ).ended
        assert get(sim.url, "/sim/stats").json["outcomes"] == {"gone": 1, "complete": 1}


def test_a_slow_reader_loses_nothing_and_delays_nobody(sim: SimProcess) -> None:
    slow = Connection(sim.url)
    count = 40_000
    body = {"prompt": "x", "max_tokens": count, "stream": True}
    slow.send("/v1/completions", body, NO_PAUSE)
    time.sleep(0.3)
    assert post(sim.url, "/v1/completions", {"prompt": "x", "max_tokens": 2, "stream": True}).ended
    answer = slow.receive()
    slow.close()
    assert answer is not None
    assert answer.ended
    assert len(answer.chunks) == count + 1


def test_a_stream_without_pause_does_not_keep_the_loop(sim: SimProcess) -> None:
    greedy = Connection(sim.url)
    greedy.send(
        "/v1/completions",
        {"prompt": "x", "max_tokens": 100_000, "stream": True},
        {"x-request-id": "greedy", **NO_PAUSE},
    )
    greedy._until(b"data:")
    entry = next(
        entry
        for entry in get(sim.url, "/sim/stats").json["requests"]
        if entry["request_id"] == "greedy"
    )
    greedy.close()
    assert entry["outcome"] == "running"


def test_pipelined_requests_are_answered_in_turn(sim: SimProcess) -> None:
    connection = Connection(sim.url)
    for tokens in (3, 2):
        connection.send("/v1/completions", {"prompt": "x", "max_tokens": tokens, "stream": True})
    answers = [connection.receive(), connection.receive()]
    connection.close()
    assert [len(answer.events) for answer in answers if answer is not None] == [3, 2]


def test_hostile_model_name() -> None:
    name = '"},{"x":"\\ </script>\u2028é\ndata: [DONE]\n\n'
    with launch([*FAST, "--model", name, "--strict-model"]) as sim:
        assert get(sim.url, "/v1/models").json["data"][0]["id"] == name
        for path in ("/v1/completions", "/v1/chat/completions"):
            body = {
                "model": name,
                "prompt": "x",
                "messages": MESSAGES,
                "max_tokens": 2,
                "stream": True,
            }
            answer = post(sim.url, path, body)
            assert {event["model"] for event in answer.events} == {name}
            assert answer.data[-1] == "[DONE]"
        refused = post(sim.url, "/v1/completions", {"model": "nope", "prompt": "x"})
        gold = orjson.loads((GOLD / "vllm-error-404.json").read_bytes())
        assert refused.status == 404
        assert {**refused.json["error"], "message": ""} == {**gold["error"], "message": ""}


def test_early_stops_unless_ignore_eos() -> None:
    with launch([*FAST, "--early-stop", "1"]) as sim:
        body = {"prompt": "x", "max_tokens": 50}
        stopped = post(sim.url, "/v1/completions", body).json
        assert stopped["choices"][0]["finish_reason"] == "stop"
        assert 1 <= stopped["usage"]["completion_tokens"] < 50
        assert (
            post(sim.url, "/v1/completions", {**body, "min_tokens": 49}).json["usage"][
                "completion_tokens"
            ]
            == 49
        )
        assert (
            post(sim.url, "/v1/completions", {**body, "ignore_eos": True}).json["usage"][
                "completion_tokens"
            ]
            == 50
        )


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with launch([*FAST, "--host", "::1"]) as sim:
        assert sim.url.startswith("http://[::1]:")
        assert post(
            sim.url, "/v1/completions", {"prompt": "x", "max_tokens": 2, "stream": True}
        ).ended


@pytest.mark.skipif(which("openssl") is None, reason="needs the openssl command for a certificate")
def test_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "
        "2 -subj /CN=localhost -keyout"
    )
    subprocess.run([*command.split(), str(key), "-out", str(cert)], check=True, capture_output=True)
    with launch([*FAST, "--tls-cert", str(cert), "--tls-key", str(key)]) as sim:
        assert sim.url.startswith("https://")
        connection = Connection(sim.url)
        for tokens, itl in ((3, "1"), (20_000, "0")):
            body = {"prompt": "x", "max_tokens": tokens, "stream": True}
            connection.send("/v1/completions", body, {"x-sim-itl-ms": itl})
            time.sleep(0.2)  # the long one fills the socket's buffer
            answer = connection.receive()
            assert answer is not None
            assert answer.ended
            assert len(answer.events) == tokens
        connection.close()


def test_many_streams_at_once(sim: SimProcess) -> None:
    connections = [Connection(sim.url) for _ in range(200)]
    complete = []

    def run(mine: list[Connection]) -> None:
        for index, connection in enumerate(mine):
            connection.send(
                "/v1/chat/completions",
                {"messages": MESSAGES, "max_tokens": 5 + index, "stream": True},
            )
        for index, connection in enumerate(mine):
            answer = connection.receive()
            complete.append(answer is not None and answer.ended and len(answer.events) == 6 + index)
            connection.close()

    threads = [
        threading.Thread(target=run, args=(connections[start : start + 50],))
        for start in range(0, 200, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert complete == [True] * 200
