"""Intervals of one run hold the truth of a queue as often as they say; formulas against known
ones.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.statistics import blocks, estimates
from llmbench_locust.statistics.estimates import Sample
from tests.statistics.queues import truth, waits

SERIES = st.lists(st.floats(0.001, 1e3), min_size=20, max_size=200).map(np.array)


@pytest.mark.parametrize(("rho", "n"), [(0.5, 4000), (0.9, 20_000)])
def test_intervals_hold_the_truth_of_a_queue(rho, n):
    mean, p99 = truth(rho)
    _, found = waits(np.random.default_rng(7), rho, n, runs=200)
    mean_held = p99_held = naive_held = 0
    for column in found.T + 0.05:
        low, high = estimates.mean_interval(Sample(column))
        mean_held += low <= mean + 0.05 <= high
        low, high = estimates.quantile_interval(Sample(column), 0.99)
        p99_held += low <= p99 + 0.05 <= high
        half = 1.96 * column.std() / math.sqrt(n)
        naive_held += abs(column.mean() - mean - 0.05) <= half
    assert 0.92 <= mean_held / 200 <= 0.985
    assert p99_held / 200 >= 0.9
    assert naive_held / 200 < 0.75


def test_independent_values_have_the_textbook_error():
    values = np.random.default_rng(1).exponential(1.0, (200, 1000))
    found = [blocks.standard_error(row).se for row in values]
    assert np.median(found) == pytest.approx(1 / math.sqrt(1000), rel=0.3)


def test_correlated_blocks_are_widened():
    drift = np.linspace(0, 1, 1000)
    found = blocks.standard_error(drift)
    assert found.se > 2 * blocks.block_means(drift).std(ddof=1) / math.sqrt(10)
    assert found.df < 9


@given(SERIES)
def test_block_means_use_every_value_once(values):
    sizes = np.diff(np.linspace(0, len(values), 11).astype(int))
    assert blocks.block_means(values) @ sizes == pytest.approx(values.sum())
    assert sizes.max() - sizes.min() <= 1


def test_too_few_values_tell_nothing():
    assert blocks.standard_error(np.ones(19)) == blocks.UNKNOWN
    assert estimates.mean_interval(Sample(np.ones(19))) is None
    assert estimates.quantile_interval(Sample(np.ones(19)), 0.5) is None
    assert blocks.runs_interval([1.0]) is None


def test_a_percentile_beyond_the_data_has_no_upper_bound():
    low, high = estimates.quantile_interval(Sample(np.arange(100.0)), 0.99)
    assert low < 98
    assert high == math.inf


def test_runs_interval_is_students():
    low, high = blocks.runs_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_welch():
    both = blocks.add(blocks.StandardError(3.0, 9), blocks.StandardError(4.0, 9))
    assert (both.se, both.df) == (5.0, pytest.approx(625 / ((81 + 256) / 9)))
    assert blocks.add(blocks.UNKNOWN, both) == blocks.UNKNOWN


def test_values_of_one_request_move_together():
    """Gaps of one request are one block of luck: the error is that of the requests' means."""
    rng = np.random.default_rng(3)
    slow = rng.lognormal(0, 0.5, 500)
    sample = Sample(np.repeat(slow, 7), np.full(500, 7))
    one = blocks.standard_error(estimates.mean_influence(Sample(slow)))
    assert blocks.standard_error(estimates.mean_influence(sample)).se == pytest.approx(one.se)
    assert [z.shape for z in estimates.quantile_influences(sample, 0.9)] == [(500,)] * 2


def test_a_steady_server_has_an_exact_throughput():
    ends = np.arange(1, 101.0)
    assert not estimates.rate_influence(np.full(100, 8.0), ends).any()
    assert not estimates.rate_influence(np.full(3, 8.0), np.ones(3)).any()
