"""Tokens in time: chunks that carry several, the fullest second, counts that lie in a span."""

import numpy as np
import pytest

from llmbench_locust.metrics.tokens import TokenBins, per_token_gaps, token_weights

from .rows import columns, failed, row


def test_one_token_an_event_needs_no_weights():
    assert token_weights(columns(row(0, gaps=(0.1, 0.1)), failed(1))) is None


def test_tokens_by_the_servers_word_for_each_chunk():
    cols = columns(row(0, gaps=(0.1,), token_counts=np.array([1, 4], np.int32), tokens=5), row(1))
    assert token_weights(cols).tolist() == [1, 4, 1]


def test_else_evenly_over_the_chunks():
    # 7 tokens in 3 chunks: 3 + 2 + 2. The other answer has as many as events.
    cols = columns(row(0, gaps=(0.1, 0.1), tokens=7), row(1, gaps=(0.2,)))
    assert token_weights(cols).tolist() == [3, 2, 2, 1, 1]


def test_an_answer_without_counts_beside_one_with_counts():
    # A whole answer in one chunk has its usage there; the other one has it only at its end.
    cols = columns(
        row(0, token_counts=np.array([5], np.int32), tokens=5), row(1, gaps=(1,), tokens=4)
    )
    assert token_weights(cols).tolist() == [5, 2, 2]


def test_a_chunk_of_four_after_a_gap_is_four_gaps_of_a_quarter():
    cols = columns(row(0, gaps=(0.1, 0.4), token_counts=np.array([1, 1, 4], np.int32), tokens=6))
    gaps = per_token_gaps(cols, cols.success, token_weights(cols))
    # One gap of 0.1 and four of 0.4 / 4: all are 0.1.
    assert gaps.total == 5
    assert gaps.mean_s == pytest.approx(0.1)
    assert gaps.percentiles([0, 100]) == pytest.approx([0.1, 0.1])


def test_gaps_never_reach_from_one_request_to_the_next():
    cols = columns(
        row(0, 0.0, 0.1, (0.1,)),
        failed(1),
        row(2, 50.0, 0.1, (0.2,)),
        row(3, 90.0, 0.1, success=False),
    )
    gaps = per_token_gaps(cols, cols.success, None)
    assert gaps.total == 2
    assert gaps.max_s == pytest.approx(0.2)


def test_the_fullest_second_wherever_it_begins():
    bins = TokenBins()
    bins.add(np.array([0.005, 0.6, 0.9, 1.1, 1.4, 3.0]))
    # [0.6, 1.6) holds four; whole seconds from 0 hold at most three.
    assert bins.peak() == 4
    bins.add(np.array([0.9]), np.array([10]))
    assert bins.peak() == 14
    assert TokenBins().peak() == 0


def test_merged_bins_equal_the_whole():
    times = np.random.default_rng(3).uniform(5, 40, 1000)
    whole, a, b = TokenBins(), TokenBins(), TokenBins()
    whole.add(times)
    a.add(times[times > 20])
    b.add(times[times <= 20])
    a.merge(b)
    assert [x.tolist() for x in a.middles()] == [x.tolist() for x in whole.middles()]
    assert a.between(10.0, 20.0) == int(np.count_nonzero((times >= 10.0) & (times < 20.0)))
    assert a.between(-5.0, 100.0) == 1000
    assert a.between(50.0, 60.0) == 0


def test_a_time_that_is_none_is_in_no_bin():
    bins = TokenBins()
    bins.add(np.array([np.nan, 1.0, np.inf]), np.array([5, 2, 5]))
    bins.add(np.array([np.nan]))
    assert bins.peak() == 2
