"""Requests that are made while others are sent: the same ones as if all were made before."""

from __future__ import annotations

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.run.ahead import Ahead
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload import random_text
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.random_text import RandomPrompts
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import MADE_AHEAD, MADE_AHEAD_TIMED, stream_of
from tests.workload.common import config

IDS = ("--request-id-prefix", "r-")


@settings(max_examples=15)
@given(
    st.integers(1, 60),
    st.sampled_from([0, 7]),
    st.sampled_from([0, 0.5]),
    st.lists(st.integers(1, 20), min_size=60, max_size=60),
)
def test_pieces_are_the_whole(tokenizer, n, prefix, hits, pieces):
    argv = ("--random-input-len", 12, "--random-range-ratio", 0.5, "--random-prefix-len", prefix)
    hit = ("--random-cache-hit-fraction", hits, "--random-cache-ratio", hits)
    made = config(*argv, *hit, *IDS, "--num-prompts", n)
    taken: list[SampleRequest] = []
    requests = RandomPrompts(made, tokenizer, n)
    for piece in pieces:
        taken += requests.take(piece)
    assert taken == load_requests(made, tokenizer)
    sharing = requests.sharing(n)
    tokens = sum(s.prompt_len for s in taken)  # now and then one cannot be made to fit
    assert (sharing.requests, sharing.prompt_tokens) == (n, pytest.approx(tokens, rel=0.1, abs=2))
    if not hits:  # what was drawn is distinct; when two are made to fit, they may become one
        assert sharing.distinct == pytest.approx(len({s.prompt for s in taken}), abs=3)


def test_without_an_end_lengths_are_drawn_again_and_again(tokenizer, monkeypatch):
    monkeypatch.setattr(random_text, "ROUND", 20)
    made = config("--random-input-len", 9, *IDS, "--num-prompts", 20)
    requests = RandomPrompts(made, tokenizer, None)
    found = [sample for _ in range(20) for sample in requests.take(7)]
    assert found[:20] == load_requests(made, tokenizer)
    assert [s.request_id for s in found] == [f"r-{i}" for i in range(len(found))]
    assert len(found) > 100
    assert found[20].prompt != found[0].prompt


def test_what_is_made_ahead_by_another_process(tokenizer):
    made = config("--random-input-len", 8, *IDS, "--request-rate", 100, "--duration", "50s")
    stream, other = stream_of(made, tokenizer), stream_of(made, tokenizer)
    assert stream.digest == other.digest
    stream.salt_all("[salt]")
    other.salt_all("[salt]")
    ahead = Ahead(stream.rest(), Gaps())
    found = list(stream.first)
    with gevent.Timeout(60):
        while len(found) < 5000:
            found += ahead.ready()
            gevent.sleep(0.01)
        ahead._reader.join()
    assert not ahead.broken
    expected = [*other.first]
    while some := other.take(1000):
        expected += some
    assert found == expected
    assert all(sample.prompt.startswith("[salt]") for sample in found[-10:])


def test_a_process_that_dies_is_told_of(tokenizer, capsys):
    made = config("--random-input-len", 8, "--num-prompts", 100 * MADE_AHEAD)
    ahead = Ahead(stream_of(made, tokenizer).rest(), Gaps())
    with gevent.Timeout(60):
        while not ahead.ready():
            gevent.sleep(0.01)
        ahead._process.kill()
        while not ahead.broken:
            ahead.ready()
            gevent.sleep(0.01)
    assert "the process that makes prompts ended early" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ("--num-prompts", MADE_AHEAD),
        ("--request-rate", MADE_AHEAD_TIMED, "--duration", "1s"),
        ("--multi-turn",),
    ],
)
def test_what_is_made_before_the_first_is_sent(tokenizer, argv):
    assert stream_of(config("--backend", "openai-chat", *argv), tokenizer) is None
