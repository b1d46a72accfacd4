"""What the simulator tells of itself: prefix cache, histograms, per-request metrics, power."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.server_metrics.figures import figures_of
from llmbench_locust.server_metrics.reading import parse
from llmbench_locust.simulator.engine.prefix_cache import PrefixCache
from llmbench_locust.simulator.launch import launch
from llmbench_locust.simulator.stats import PowerMeter


def test_the_cached_part_is_whole_blocks_and_never_the_last_token() -> None:
    cache = PrefixCache(capacity=100, block_size=4)
    assert cache.admit(range(10)) == 0
    assert cache.admit(range(10)) == 8
    assert cache.admit(range(8)) == 4  # the second block holds the last token
    assert cache.admit([0, 1, 2, 3, 9, 9, 9, 9, 9]) == 4
    assert cache.admit([9, 1, 2, 3, 4, 5, 6, 7, 8]) == 0  # a block is known by all before it
    assert (cache.queries, cache.hits) == (10 + 10 + 8 + 9 + 9, 16)
    cache.reset()
    assert cache.admit(range(10)) == 0


def test_the_least_recently_used_block_goes_first() -> None:
    cache = PrefixCache(capacity=2, block_size=1)
    for prompt in ([1, 0], [2, 0], [1, 0], [3, 0]):
        cache.admit(prompt)
    assert len(cache._blocks) == 2


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=12))
def test_hits_never_exceed_queries_and_a_large_cache_finds_every_shared_block(prompts) -> None:
    cache, seen = PrefixCache(10_000, 2), set()
    for prompt in prompts:
        expected = 0
        for end in range(2, len(prompt), 2):
            if tuple(prompt[:end]) not in seen:
                break
            expected = end
        assert cache.admit(prompt) == expected
        seen |= {tuple(prompt[:end]) for end in range(2, len(prompt) + 1, 2)}


def test_energy_is_the_integral_of_power() -> None:
    meter = PowerMeter(100, 50, now_s=0)
    meter.update(2, 1)  # 2 s idle
    meter.update(5, 3)  # 3 s with one
    meter.update(6, 0)  # 1 s with three
    assert meter.joules == 2 * 100 + 3 * 150 + 1 * 250
    assert meter.watts == 100


@pytest.fixture(scope="module")
def server():
    options = "--clock fixed --ttft-ms 40 --itl-ms 10 --prefix-cache 1000 --request-metrics"
    with launch([*options.split(), "--count", "words"]) as sim:
        yield sim.url


def ask(url, prompt, tokens=5):
    body = {
        "prompt": prompt,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        f"{url}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        lines = [line[6:] for line in response.read().decode().splitlines() if line[:6] == "data: "]
    return json.loads(lines[-2])


def get(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data)) as response:
        return response.read().decode()


def two_requests(server, prompt):
    """The answers, and the figures of the pages before and after them."""
    before = parse(get(f"{server}/metrics"), 0)
    answers = [ask(server, prompt) for _ in range(2)]
    after = parse(get(f"{server}/metrics"), 1)
    return answers, figures_of([before, after], [50])


def test_the_ttft_of_its_metrics_page_is_the_one_it_was_told(server) -> None:
    # The best of five: where the machine stands still, the server is late, and says so.
    means = [
        two_requests(server, "t " * 5)[1]["latencies"]["server_ttft"]["mean"] for _ in range(5)
    ]
    assert 0.04 <= min(means) < 0.07, means


def test_its_metrics_page_agrees_with_what_was_sent(server) -> None:
    (first, second), figures = two_requests(server, "a b " * 20)
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}
    assert figures["counters"] == pytest.approx(
        {
            "preemptions": 0,
            "prefix_cache_queries": 80,
            "prefix_cache_hits": 32,
            "cached_prompt_tokens": 32,
            "prompt_tokens": 80,
            "generation_tokens": 10,
            "requests_finished": 2,
        }
    )
    assert figures["latencies"]["server_itl"]["count"] == 8
    assert set(figures["gauges"]) >= {"running", "waiting", "kv_cache_usage"}
    told = second["metrics"]
    assert told["queue_time_ms"] == pytest.approx(0, abs=1e-6)
    assert told["generation_time_ms"] == pytest.approx(4 * told["mean_itl_ms"])


def test_the_next_turn_of_a_conversation_begins_with_the_cached_one(server) -> None:
    def counted(name):
        page = get(f"{server}/metrics").splitlines()
        return sum(
            float(line.split()[-1]) for line in page if line.startswith(f"vllm:{name}_total")
        )

    names = "prompt_tokens", "prefix_cache_queries"
    before = [counted(name) for name in names]
    messages = [{"role": "user", "content": "e f " * 20}]
    found = []
    for _ in range(2):
        body = json.dumps({"messages": messages, "max_tokens": 20}).encode()
        request = urllib.request.Request(
            f"{server}/v1/chat/completions", body, {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request))
        found.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        messages += [answer["choices"][0]["message"], {"role": "user", "content": "g"}]
    assert found == [0, 32]  # whole blocks of 16 of its 40 words
    prompts, queries = (counted(n) - b for n, b in zip(names, before, strict=True))
    assert queries == prompts > 80  # with the template


def test_the_cache_is_reset_when_nothing_runs(server) -> None:
    ask(server, "c d " * 20)
    assert json.loads(get(f"{server}/reset_prefix_cache", b"")) == {"success": True}
    assert ask(server, "c d " * 20)["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert get(f"{server}/flush_cache") == "Cache flushed."
    assert ask(server, "c d " * 20)["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


def test_the_energy_counter_follows_the_power(server) -> None:
    began = time.monotonic()
    first = parse(get(f"{server}/dcgm/metrics"), 0)
    time.sleep(0.3)
    second = parse(get(f"{server}/dcgm/metrics"), 1)
    joules = second.values["gpu_energy"] - first.values["gpu_energy"]
    assert 0.3 * 100 <= joules <= (time.monotonic() - began) * 100
    assert second.values["gpu_power"] == 100
