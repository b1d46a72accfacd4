"""The histogram: every percentile within 0.1%, and merging parts equals counting the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.metrics.histogram import Histogram

seconds = st.lists(st.floats(1e-8, 1e5), min_size=1, max_size=60)


def filled(values, weights=None):
    found = Histogram()
    found.add(
        np.array(values, np.float64), None if weights is None else np.array(weights, np.int64)
    )
    return found


@settings(max_examples=150, deadline=None)
@given(seconds, st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_within_a_thousandth_of_numpys(values, wanted):
    got = filled(values).percentiles(wanted)
    assert got == pytest.approx(np.percentile(values, wanted).tolist(), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(seconds, seconds)
def test_merged_parts_equal_the_whole(a, b):
    parts, whole = filled(a), filled(a + b)
    parts.merge(filled(b))
    assert np.array_equal(parts.counts, whole.counts)
    assert parts.total == whole.total
    assert (parts.min_s, parts.max_s) == (whole.min_s, whole.max_s)
    assert (parts.sum_s, parts.square_s2) == pytest.approx(
        (whole.sum_s, whole.square_s2), rel=1e-12
    )


def test_weights_are_repetitions():
    a, b = filled([0.1, 0.2, 0.5], [3, 1, 2]), filled([0.1, 0.1, 0.1, 0.2, 0.5, 0.5])
    assert np.array_equal(a.counts, b.counts)
    assert a.total == b.total == 6
    assert (a.mean_s, a.std_s) == pytest.approx((b.mean_s, b.std_s))


def test_ends_of_the_range():
    assert filled([0.0, 0.0]).percentiles([50]) == [0.0]
    # Two chunks in one read: a gap of 0 among others.
    assert filled([0.0, 1.0, 1.0]).percentiles([0, 50]) == pytest.approx([0.0, 1.0])
    assert filled([1e-12, 1e9]).percentiles([0, 100])[1] <= 1e9
    assert np.isnan(Histogram().percentiles([50])[0])
    assert np.isnan(Histogram().mean_s)
