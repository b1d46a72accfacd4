"""Random prompts against a server whose tokenizer is another one: cut to what it counts, on every
backend that takes texts.
"""

from dataclasses import replace

import pytest

from llmbench_locust.run.align import aligned
from llmbench_locust.run.control_api import Server
from llmbench_locust.simulator.launch import launch
from llmbench_locust.workload.sample import SampleRequest
from tests.workload.common import config as parsed


@pytest.fixture(scope="module")
def server():
    process = launch([])
    yield Server(process.url, {})
    process.stop()


def config(backend, **more):
    return replace(parsed("--model", "sim", "--backend", backend), **more)


@pytest.mark.parametrize("backend", ["openai", "openai-chat", "openai-embeddings"])
def test_prompts_are_cut_to_what_the_server_counts(backend, server):
    text = "zxqv jkwp " * 20
    counted = len(server.tokenize("sim", text))
    samples = [SampleRequest(text, counted - 7, 4, "a"), SampleRequest("hi", 50, 4, "b")]
    said = []
    found = aligned(samples, config(backend), server, said.append)
    assert len(said) == 1
    assert len(server.tokenize("sim", found[0].prompt)) == counted - 7
    assert text.startswith(found[0].prompt)
    assert found[1] == samples[1]  # the server counts fewer: left alone, as vLLM leaves it


def test_prompts_that_agree_and_other_datasets_are_left_alone(server):
    text = "The river is long."
    right = [SampleRequest(text, len(server.tokenize("sim", text)), 4, "a")]
    assert aligned(right, config("openai"), server, pytest.fail) is right
    wrong = [SampleRequest(text, 1, 4, "a")]
    assert aligned(wrong, config("openai", dataset_name="sharegpt"), server, pytest.fail) is wrong
