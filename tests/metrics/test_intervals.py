"""The block of intervals: from records, in the order of time, null where the run cannot tell."""

import numpy as np
import pytest

from llmbench_locust.statistics.estimates import Sample, mean_interval
from tests.results.runs import config, figures

from .rows import columns, failed, row


def block(records, percentiles=(99.0,)):
    given = config(metric_percentiles=percentiles)
    return figures(columns(*records), given=given, duration_s=100.0).block["intervals"]


def test_they_follow_the_order_of_time_and_leave_failed_requests_out():
    rng = np.random.default_rng(1)
    ttft, gaps = rng.lognormal(-2, 0.4, 300), rng.lognormal(-4, 0.4, (300, 3))
    rows = [row(i, float(i), t, g) for i, (t, g) in enumerate(zip(ttft, gaps, strict=True))]
    found = block([*rng.permutation(np.array(rows, object)), failed(999, 5.0)])
    assert found["ttft_ms"]["mean"] == pytest.approx(
        mean_interval(Sample(np.insert(ttft, 5, 0.1)[np.arange(301) != 5] * 1000)), rel=0.02
    )
    expected = mean_interval(Sample(gaps.ravel() * 1000, np.full(300, 3)))
    assert found["itl_ms"]["mean"] == pytest.approx(expected, rel=0.02)
    low, high = found["request_throughput"]
    assert low < 3.0 < high < 3.1
    assert set(found["ttft_ms"]) == {"mean", "p50", "p90", "p99"}
    assert found["ttft_ms"]["p99"][1] is None  # 300 requests do not bound it


def test_too_few_requests_have_none():
    found = block([row(i, float(i)) for i in range(5)])
    assert found["ttft_ms"]["mean"] is None
    assert found["request_throughput"] is None
    assert found["tpot_ms"] is None
    assert block([])["ttft_ms"] is None
