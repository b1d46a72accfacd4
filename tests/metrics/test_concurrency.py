"""Requests in flight, exactly; and the window in which the load stood still."""

import numpy as np
import pytest

from llmbench_locust.metrics.concurrency import steady_window, sweep

from .rows import columns, failed, row


def test_exact_where_whole_seconds_are_not():
    # One after the other within a second: vLLM's buckets say 3, truth is 1.
    cols = columns(row(0, 0.0, 0.2), row(1, 0.2, 0.2), row(2, 0.5, 0.2))
    assert sweep(cols).peak == 1
    assert sweep(columns(row(0, 0.0, 0.3), row(1, 0.2, 0.3), row(2, 0.25, 0.01))).peak == 3


def test_failed_ones_count_and_unsent_ones_do_not():
    cols = columns(
        row(0, 0.0, 1.0), failed(1, 0.5, 2.0), failed(2, np.nan, np.nan), row(3, 0.6, 0.0)
    )
    assert sweep(cols).peak == 3
    assert sweep(columns()).peak == 0


def test_mean_over_a_span():
    found = sweep(columns(row(0, 0.0, 4.0), row(1, 1.0, 2.0)))
    # 1 in [0, 1), 2 in [1, 3), 1 in [3, 4).
    assert found.mean(0.0, 4.0) == pytest.approx(6 / 4)
    assert found.mean(2.0, 4.0) == pytest.approx(3 / 2)
    assert found.mean(4.0, 6.0) == 0.0


def test_a_closed_loop_is_steady_between_filling_and_draining():
    # Four at a time, each 1 s, filled one by one in the first second, the last one sent at 9.75.
    rows = [row(4 * k + j, k + j * 0.25, 1.0) for k in range(10) for j in range(4)]
    cols = columns(*rows)
    begin, end = steady_window(cols, sweep(cols))
    assert begin == pytest.approx(0.75)
    assert end == pytest.approx(9.75)


def test_a_burst_is_never_steady():
    cols = columns(*(row(i, i * 1e-4, 1.0 + i * 0.1) for i in range(50)))
    assert steady_window(cols, sweep(cols)) is None
    assert steady_window(columns(row(0)), sweep(columns(row(0)))) is None
