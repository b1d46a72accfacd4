"""How many connections are opened before the clock starts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.run.schedule import connections_ahead


@pytest.mark.parametrize(
    ("due", "cap", "latency_s", "expected"),
    [
        (np.zeros(2000), None, 0.5, 2000),  # all at once
        (np.zeros(2000), 16, 0.5, 16),
        (np.zeros(5000), None, None, 2048),  # all at once needs no latency, but has a bound
        (np.zeros(5000), None, 0.5, 5000),
        (np.zeros(50_000), None, 5, 16_384),
        (np.zeros(50_000), None, 0.2, 4000),  # the first have ended when later ones start
        (np.zeros(50_000), None, 0.01, 2048),
        (np.arange(1000) / 20, None, 0.5, 11),  # 20/s × 0.5 s, both ends counted
        (np.arange(1000) / 20, None, None, 1),
        (np.arange(1000) / 20, 4, 0.5, 4),
        (np.arange(1000) * 60.0, None, 0.5, 1),  # a trace with a request a minute
        (np.arange(1000) * 60.0 + 30, None, 0.5, 0),  # nothing in the first seconds
        (np.empty(0), None, 0.5, 0),
    ],
)
def test_as_many_as_the_first_seconds_need(due, cap, latency_s, expected):
    assert connections_ahead(due, cap, latency_s) == expected


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=60).map(sorted),
    st.floats(0, 5),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_it_is_the_peak_of_overlapping_requests(due, latency_s, cap):
    due = np.array(due)
    overlap = max(int(np.count_nonzero((due <= t) & (due >= t - latency_s))) for t in due)
    expected = overlap if cap is None else min(cap, overlap)
    assert connections_ahead(due, cap, latency_s) == expected
