"""Conditions such as p99_ttft_ms<=300."""

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.results.conditions import parse_condition

DOCUMENT = {
    "p99_ttft_ms": 250.0,
    "completed": 99,
    "failed": 1,
    "llmbench": {"slo_attainment": {"all": 0.9}},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p99_ttft_ms<=250", True),
        ("p99_ttft_ms < 250", False),
        ("failed_share<=0.01", True),
        ("failed_share<=0.001", False),
        ("attainment>=0.9", True),
        ("mean_tpot_ms<=40", None),
    ],
)
def test_a_condition_is_read_and_judged(text, holds):
    assert parse_condition(text, "--slo").holds(DOCUMENT) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p99_ttf_ms<=3", "did you mean p99_ttft_ms?"),
        ("p99_ttft_ms=3", "is not a condition; write FIGURE<=N"),
        ("p99_ttft_ms<=fast", "is not a condition"),
        ("goodness>1", "not a figure of a result"),
    ],
)
def test_what_nobody_can_read_is_one_line_that_names_the_flag(text, words):
    with pytest.raises(ConfigError, match="--slo: ") as found:
        parse_condition(text, "--slo")
    assert words in str(found.value)
