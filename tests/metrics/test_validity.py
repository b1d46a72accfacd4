"""Each reason is raised alone by what it is about, and none by a clean run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.statistics.certified import certified, least_samples
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.sharing import Sharing, sharing
from tests.metrics.rows import columns, failed, lags, row
from tests.results.runs import config, figures

N = 700
CLEAN = {"requests_finished": N, "prefix_cache_hits": 1400, "prefix_cache_queries": 7000}


def rows(n=N, bad=0, **more):
    good = (row(i, i / 100, 0.1, (0.01, 0.01), expected_output_len=3, **more) for i in range(n))
    return [*good, *(failed(n + i, (n + i) / 100, 8.0) for i in range(bad))]


def reasons(records=None, server=CLEAN, before=None, known=None, queue=False, **facts):
    """Names of the reasons. ``server``: counters after the run."""
    readings = {"u": [Reading(0.0, before or dict.fromkeys(server, 0.0)), Reading(9.0, server)]}
    known = known or Sharing(N, N, 7000, 0.2)
    given = replace(config(), dataset_name="custom")
    done = figures(
        *(columns(*(records or rows())),),
        **{"given": given, "server": readings, "sharing": known, **facts},
    )
    return [reason["reason"] for reason in done.block["validity"]["reasons"]]


def overloaded():
    """50 requests a second for 12 s, of which the server answers 25 a second."""
    return [row(i, i / 50, i / 50 + 0.1, (0.01, 0.01), expected_output_len=3) for i in range(N)]


def test_a_clean_run_is_valid():
    assert reasons() == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("client_limited", {"audit": AuditInputs(lags(0.05), lags(0.0))}),
        ("warm_cache", {"server": {**CLEAN, "prefix_cache_hits": 1600}}),
        ("duplicate_prompts", {"known": Sharing(N, 49, 7000, 0.2)}),
        ("other_traffic", {"server": {**CLEAN, "requests_finished": 710}}),
        ("server_restarted", {"before": {**CLEAN, "requests_finished": 9000}}),
        ("server_preempted", {"server": {**CLEAN, "preemptions": 1}}),
        ("rate_not_reached", {"records": overloaded()}),
        ("short_answers", {"records": rows(tokens=2)}),
        ("failed_requests", {"records": rows(N, bad=8), "server": {}}),
        ("too_few_samples", {"records": rows(661), "server": {}}),
    ],
)
def test_each_reason_comes_alone(name, changed):
    assert reasons(**changed) == [name]


def test_an_answer_that_stopped_of_itself_is_not_short():
    assert reasons(records=rows(tokens=2, finish_reason="stop")) == []


def test_too_few_requests_name_the_flag_that_gives_more():
    def advice(*records, **flags):
        given = replace(config(), **{"metric_percentiles": (99.0,), **flags})
        found = figures(columns(*records), given=given).block["validity"]["reasons"]
        return found[0]["what_to_do"]

    assert advice(row()) == "Raise --num-prompts."
    assert advice(row(), metric_percentiles=(99.0, 100.0)) == "Raise --num-prompts."
    assert advice(row(), duration_s=9.0) == "Raise --duration."
    assert advice(row(), num_sessions=3) == "Raise --num-sessions."
    assert advice(row(due_time=np.nan)) == "Raise --run-time."


def test_a_chat_template_is_no_warm_cache():
    """20 tokens more a request, all from the cache: the template, which the prompts share."""
    more = {"prefix_cache_hits": 1400 + 20 * N, "prefix_cache_queries": 7000 + 20 * N}
    assert reasons(server={**CLEAN, **more}) == []


def sample(text, turn=None, **more):
    return SampleRequest(text, len(text), 1, turn=turn, **more)


def test_the_shared_part_of_prompts_is_what_a_cache_without_end_would_serve():
    a, b = "a" * 64, "b" * 64
    found = sharing([sample(a + a), sample(a + b), sample(b + a), sample(a + a)], prefixes=True)
    assert (found.requests, found.distinct) == (4, 3)
    assert found.prefix_share == (64 + 128) / 512
    warmed = sharing([sample(a), sample(b)], prefixes=True, rehearsed=True)
    assert warmed.prefix_share == 0.5
    assert sharing([sample(a), sample(a, turn=1)], prefixes=True).prefix_share is None
    # 40 prompt tokens, of which nothing was there; 100, of which 40 + 20 of the response were.
    turns = [sample(a, turn=0, conversation=1), sample(b, turn=1, conversation=1)]
    known = sharing(turns, prefixes=True, sizes=[(40, 20), (100, 5)])
    assert (known.prefix_share, known.prompt_tokens) == (60 / 140, 140)


def test_a_follow_up_that_others_ask_too_repeats_no_prompt_unless_its_history_does():
    def sessions(*first):
        turns = [(text, "Go on.") for text in first]
        return [sample(t, n, conversation=c) for c, s in enumerate(turns) for n, t in enumerate(s)]

    assert sharing(sessions("a", "b"), prefixes=False).distinct == 4
    assert sharing(sessions("a", "b", "a"), prefixes=False).distinct == 4


def test_what_prompts_share_is_counted_in_tokens():
    # A fifth of the tokens, in a fifteenth of the bytes: a server counts tokens.
    short, others = "a" * 66, ["b" * 300, "c" * 300]
    samples = [SampleRequest(text, 60, 1) for text in (short, short, *others)]
    samples.append(SampleRequest("d" * 300, 60, 1))
    assert sharing(samples, prefixes=True).prefix_share == pytest.approx(0.2)


def test_a_sound_that_came_before_may_be_all_of_its_prompt():
    sounds = [SampleRequest("", 9, 1, multi_modal={"sound": b"abc"[i % 2 :]}) for i in range(6)]
    assert sharing(sounds, prefixes=True).prefix_share >= 4 / 6


def test_the_least_samples_are_those_of_loadgen():
    assert [least_samples(p) for p in (90, 95, 97, 99, 99.9)] == [64, 130, 219, 662, 6636]
    assert least_samples(1e-300) == 0


@settings(max_examples=50)
@given(st.integers(1, 3000), st.sampled_from([50.0, 90.0, 95.0, 99.0]))
def test_a_certified_percentile_is_there_from_the_least_samples_on(n, p):
    found = certified(np.random.default_rng(n).permutation(n).astype(float), p)
    assert (found is not None) == (n >= least_samples(p))
    assert found is None or found >= np.percentile(np.arange(n), p)


def test_loadgen_discards_one_value_of_662_and_76_of_10000():
    assert certified(np.arange(662.0), 99) == 661
    assert certified(np.arange(10_000.0), 99) == 10_000 - 77
