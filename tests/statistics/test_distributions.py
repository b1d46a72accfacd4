"""Held against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from llmbench_locust.statistics.distributions import binomial_cdf, t_quantile


@given(p=st.floats(0.001, 0.9999), df=st.floats(2.0, 1e6))
def test_quantiles_of_students_t(p, df):
    assert t_quantile(p, df) == pytest.approx(special.stdtrit(df, p), rel=1e-5, abs=1e-6)


def test_of_cauchy_and_of_the_normal_distribution():
    assert t_quantile(0.975, 1.0) == pytest.approx(12.7062047, rel=1e-6)
    assert t_quantile(0.975, float("inf")) == pytest.approx(1.95996398, rel=1e-6)


@given(n=st.integers(1, 200_000), q=st.sampled_from([0.5, 0.1, 0.05, 0.01, 0.001]))
def test_the_binomial(n, q):
    most = min(n, int(n * q) + 1)
    expected = special.bdtr(np.arange(most + 1), n, q)
    np.testing.assert_allclose(binomial_cdf(n, q, most), expected, rtol=1e-8, atol=1e-300)
