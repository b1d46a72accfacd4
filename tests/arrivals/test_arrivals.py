"""Arrival offsets against what vLLM produced, and against the laws that they must obey."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.arrivals import Ramp, arrival_offsets, trace_offsets

GOLD = json.loads((Path(__file__).parent.parent / "data/vllm/arrivals.json").read_text())


@pytest.mark.parametrize(
    "case", GOLD, ids=lambda c: "-".join(str(v) for k, v in c.items() if k != "offsets_s")
)
def test_equal_to_vllm(case):
    ramp = None
    if "ramp_up_strategy" in case:
        ramp = Ramp(case["ramp_up_strategy"], case["ramp_up_start_rps"], case["ramp_up_end_rps"])
    offsets = arrival_offsets(
        case["n"],
        request_rate=float(case["request_rate"]),
        burstiness=float(case.get("burstiness", 1.0)),
        seed=case["seed"],
        ramp=ramp,
    )
    np.testing.assert_allclose(offsets, case["offsets_s"], rtol=0, atol=1e-9)


@given(
    n=st.integers(1, 300),
    rate=st.floats(0.01, 1e5),
    burstiness=st.one_of(st.floats(0.05, 50), st.just(math.inf)),
    seed=st.integers(0, 2**32 - 1),
)
def test_never_falls_and_ends_at_n_over_rate(n, rate, burstiness, seed):
    offsets = arrival_offsets(n, request_rate=rate, burstiness=burstiness, seed=seed)
    assert len(offsets) == n
    assert np.all(np.diff(offsets) >= 0)
    assert offsets[-1] == pytest.approx(n / rate)


def test_constant_intervals_by_arithmetic():
    assert arrival_offsets(4, request_rate=2.0, burstiness=math.inf).tolist() == [
        0.5,
        1.0,
        1.5,
        2.0,
    ]


def test_everything_at_once():
    assert arrival_offsets(3, request_rate=math.inf).tolist() == [0.0, 0.0, 0.0]


def test_burstiness_is_the_shape_of_the_gamma_distribution():
    """The squared coefficient of variation of the intervals is 1 / burstiness."""
    for burstiness in (0.25, 1.0, 4.0):
        gaps = np.diff(arrival_offsets(200_000, request_rate=10.0, burstiness=burstiness, seed=1))
        assert (gaps.std() / gaps.mean()) ** 2 == pytest.approx(1 / burstiness, rel=0.05)


def test_ramps_by_arithmetic():
    assert Ramp("linear", 2, 10).rates(5).tolist() == [2, 4, 6, 8, 10]
    np.testing.assert_allclose(Ramp("exponential", 1, 16).rates(5), [1, 2, 4, 8, 16])
    assert Ramp("linear", 3, 9).rates(1).tolist() == [3]
    # Constant intervals at 2, 4, 6, 8, 10 a second: the offsets are the sums of their inverses, and
    # nothing is scaled.
    offsets = arrival_offsets(
        5, request_rate=math.inf, burstiness=math.inf, ramp=Ramp("linear", 2, 10)
    )
    np.testing.assert_allclose(offsets, np.cumsum([1 / 2, 1 / 4, 1 / 6, 1 / 8, 1 / 10]))


def test_a_ramp_may_begin_at_zero():
    offsets = arrival_offsets(10, request_rate=math.inf, ramp=Ramp("linear", 0, 9))
    assert np.all(np.isfinite(offsets))
    assert offsets[0] == 0.0


def test_trace_times_count_from_the_first_and_can_be_sped_up():
    assert trace_offsets(np.array([5.0, 7.0, 6.0]), 2.0).tolist() == [0.0, 1.0, 0.5]
    assert len(trace_offsets(np.array([]))) == 0
