"""What a run says of the conditions of a capacity search."""

import numpy as np
import pytest

from llmbench_locust.experiments.objectives import objectives, units
from llmbench_locust.metrics.vllm import Asked, summarize
from tests.metrics.rows import columns, failed, row

CONDITIONS = {
    "p90_ttft_ms<=150": ((1.0, 2.0), (0.0, 2.0)),
    "p99_itl_ms<=20": ((2.0, 2.0), (0.0, 2.0)),  # answers of one token have no gaps
    "mean_ttft_ms<=100": ((1.5, 1.0), (10.0, 1.0)),
    "failed_share<=0.1": ((2.0, 3.0), (0.0, 2.0)),
    "attainment>=0.9": ((1.0, 3.0), (0.0, 2.0)),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_is_met_and_that_all_is_missed_where_every_request_fails(condition):
    goodput = {"ttft": 150.0}
    wanted = objectives(goodput, 0.9, (condition,))[1:]  # the first one is that of --goodput
    for cols, expected in zip(
        (columns(row(0, ttft=0.1), row(1, ttft=0.2), failed(2)), columns(failed(0), failed(1))),
        CONDITIONS[condition],
        strict=True,
    ):
        summary = summarize(cols, Asked([99], goodput), duration_s=1.0)
        (unit,) = units(wanted, 8.0, cols, summary, np.ones(len(cols), bool))
        assert (unit.load, unit.value, unit.weight) == (8.0, *expected)
