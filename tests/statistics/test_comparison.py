"""Differences: false alarms, power and pairing on queues; Holm, verdicts and plans by
arithmetic.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmbench_locust.statistics import comparison as c
from llmbench_locust.statistics.blocks import Interval
from llmbench_locust.statistics.estimates import Sample
from tests.statistics import queues

ALARMS = ("better", "worse")


def mean(run):
    return c.mean_figure(Sample(run.ttft))


def p99(run):
    return c.quantile_figure(Sample(run.ttft), 0.99)


def called(found, level=0.95, equivalence=0.02):
    return c.verdict(found.interval(level), math.log1p(equivalence), False) in ALARMS


@pytest.mark.parametrize(("rho", "runs"), [(0.5, 1), (0.9, 1), (0.9, 3)])
def test_equal_servers_seldom_differ_and_the_naive_test_often_says_so(rho, runs):
    rng = np.random.default_rng(11)
    alarms, naive = np.zeros(2), 0
    for _ in range(60):
        base, new = ([queues.run(rng, rho, 2000) for _ in range(runs)] for _ in "ab")
        for i, figure in enumerate((mean, p99)):
            found = c.difference(list(map(figure, base)), list(map(figure, new)), paired=False)
            alarms[i] += called(found, level=1 - 0.05 / 2)
        a, b = (np.concatenate([run.ttft for run in side]) for side in (base, new))
        naive += stats.mannwhitneyu(a, b).pvalue < 0.05
    assert (alarms <= 5).all()  # 5% are 3; more than 5 of 60 have a chance of 2%
    assert naive > 15


@pytest.mark.parametrize("jitter", [0.05, 0.3])
def test_pairs_of_equal_servers_seldom_differ(jitter):
    """Also where the slow requests of a run are one episode that both sides share."""
    alarms = np.zeros(2)
    for a, b in zip(*(side.T for side in queues.pairs(np.random.default_rng(14), 0.9, 2000, 60,
                                                      jitter=jitter)), strict=True):  # fmt: skip
        for i, figure in enumerate((c.mean_figure, lambda s: c.quantile_figure(s, 0.99))):
            found = c.difference([figure(Sample(a))], [figure(Sample(b))], paired=True)
            alarms[i] += called(found, level=1 - 0.05 / 2)
    assert (alarms <= 5).all()


@pytest.mark.parametrize("runs", [1, 3])
def test_the_size_asked_for_tells_a_change_of_a_tenth(runs):
    rng = np.random.default_rng(12)
    effect, asked, told = math.log(1.1), 0, 0
    for _ in range(25):
        sides = [[queues.run(rng, 0.5, 1000, u) for _ in range(runs)] for u in (1, 1.1)]
        found = c.difference(*([mean(r) for r in side] for side in sides), paired=False)
        if called(found, equivalence=0.1):
            continue
        factor, asked = found.factor(0.95, effect), asked + 1
        n, more = (1000, math.ceil(runs * factor)) if runs > 1 else (math.ceil(1000 * factor), 1)
        sides = [[queues.run(rng, 0.5, n, u) for _ in range(more)] for u in (1, 1.1)]
        found = c.difference(*([mean(r) for r in side] for side in sides), paired=False)
        told += called(found, equivalence=0.1)
    assert asked >= 10
    assert told / asked >= 0.75


def test_pairs_of_requests_remove_what_both_saw():
    """The same arrivals at servers that differ by 1% plus noise of their own."""
    rng = np.random.default_rng(13)
    run = queues.run(rng, 0.8, 4000)
    a, b = (run.ttft * rng.lognormal(0, 0.05, 4000) * unit for unit in (1, 1.01))
    for figure in (c.mean_figure, lambda s: c.quantile_figure(s, 0.9)):
        alone = c.difference([figure(Sample(a))], [figure(Sample(b))], paired=False)
        pair = c.difference([figure(Sample(a))], [figure(Sample(b))], paired=True)
        assert pair.paired
        assert np.ptp(pair.interval(0.95)) < np.ptp(alone.interval(0.95)) / 5
    assert called(c.difference([c.mean_figure(Sample(a))], [c.mean_figure(Sample(b))],
                               paired=True), equivalence=0.001)  # fmt: skip


def test_several_runs_are_students_t():
    a, b = [1.0, 1.1, 1.2], [1.3, 1.3, 1.6]
    sides = [[c.Figure(v) for v in side] for side in (a, b)]
    alone = stats.ttest_ind(np.log(b), np.log(a))
    pairs = stats.ttest_rel(np.log(b), np.log(a))
    for paired, expected in ((False, alone), (True, pairs)):
        found = c.difference(*sides, paired=paired)
        assert found.p_value == pytest.approx(expected.pvalue, rel=0.02)
        ends = expected.confidence_interval(0.9)
        assert found.interval(0.9) == pytest.approx((ends.low, ends.high))


def test_one_against_three_uses_the_spread_of_the_three():
    found = c.difference([c.Figure(1.0)], [c.Figure(v) for v in (1.0, 1.1, 1.2)], paired=False)
    assert math.isfinite(found.error.se)
    assert c.difference([c.Figure(1.0)], [c.Figure(2.0)], paired=False).p_value == 1.0


@given(st.lists(st.floats(1e-3, 0.06), min_size=2, max_size=8))
def test_holm_agrees_with_its_definition(p_values):
    levels = c.holm_levels(p_values)
    rejected = [p <= 1 - level for p, level in zip(p_values, levels, strict=True)]
    order, k = np.argsort(p_values, kind="stable"), len(p_values)
    expected, going = [False] * k, True
    for i, row in enumerate(order):
        going = going and p_values[row] <= 0.05 / (k - i) + 1e-15
        expected[row] = going
    assert rejected == expected


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((-0.01, 0.01), "no change"),
        ((0.005, 0.01), "no change"),
        ((0.01, 0.05), "worse"),
        ((-0.05, -0.01), "better"),
        ((-0.01, 0.05), "cannot tell"),
        ((-math.inf, math.inf), "cannot tell"),
    ],
)
def test_verdicts(interval, word):
    assert c.verdict(Interval(*interval), 0.02, higher_is_better=False) == word
    mirrored = {"better": "worse", "worse": "better"}.get(word, word)
    assert c.verdict(Interval(*interval), 0.02, higher_is_better=True) == mirrored


def test_a_drift_hits_both_sides_alike():
    order = c.abba(4)
    assert "".join(order) == "abbabaab"
    places = [[i for i, side in enumerate(order) if side == name] for name in "ab"]
    assert np.mean(places[0]) == np.mean(places[1])
