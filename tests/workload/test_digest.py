"""The digest of a workload, and what stands of it in the result."""

from dataclasses import replace

from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.sharing import digest
from tests.results.runs import config, finished

A = SampleRequest("a", 1, 5, request_id="x")
B = SampleRequest([1, 2], 2, 5, multi_modal={"audio": b"\x00\xff"})


def test_prompts_lengths_and_order_count_and_nothing_else():
    assert digest([A, B]) == digest([replace(A, request_id="y", label="z"), replace(B)])
    others = [
        [B, A],
        [A],
        [A, replace(B, multi_modal={"audio": b"\x00\xfe"})],
        [replace(A, prompt="b"), B],
        [replace(A, expected_output_len=6), B],
    ]
    assert len({digest(other) for other in [[A, B], *others]}) == 6


def test_the_result_tells_its_workload():
    given = config(dataset_name="random", seed=3, sampling={"temperature": 0.0})
    assert finished(given=given, prompts="abc").block["workload"] == {
        "hash": "abc",
        "dataset": "random",
        "seed": 3,
        "sampling": {"temperature": 0.0},
        "cache_bust": "none",
    }
    assert finished().block["workload"] is None, "without a plan"
