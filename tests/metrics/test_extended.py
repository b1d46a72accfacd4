"""The ``llmbench`` block: what vLLM's keys cannot say. Every figure by hand."""

import json

import numpy as np
import pytest

from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.server_metrics.reading import Reading
from tests.results.runs import config, figures

from .rows import columns, failed, lags, row


def block(*records, goodput=None, kind="generation", duration=10.0, **more):
    given = config(goodput=goodput or {})
    cols = columns(*records)
    found = figures(cols, given=given, kind=kind, duration_s=duration, **more).block
    json.dumps(found)  # plain values all the way down
    return found


def test_latency_from_the_intended_arrival():
    # Due at 0 and 0.5; sent at 0 and 2.5, because all permits were taken: two seconds of waiting
    # that TTFT does not have.
    found = block(
        row(0, 0.0, 0.1, (0.1,)),
        row(1, 2.5, 0.1, (0.1,), due_time=0.5),
        failed(2, 9.0, due_time=1.0),
    )
    due = found["latency_from_intended_arrival_ms"]
    assert due["ttft"]["mean"] == pytest.approx((100 + 2100) / 2)
    assert due["e2el"]["max"] == pytest.approx(2200)
    assert due["wait"]["max"] == pytest.approx(2000)
    closed = block(row(0, due_time=np.nan))
    assert closed["latency_from_intended_arrival_ms"] is None


def test_attainment_counts_failed_requests_as_missed():
    found = block(
        row(0, 0.0, 0.1, (0.01,)),
        row(1, 0.0, 0.3, (0.01,)),
        row(2, 0.0, 0.1, (0.09,)),
        failed(3),
        goodput={"ttft": 200.0, "tpot": 50.0},
    )
    assert found["slo_attainment"] == {"ttft": 0.5, "tpot": 0.5, "all": 0.25}
    assert block(row(0))["slo_attainment"] == {}


def test_errors_by_kind_most_frequent_first_with_the_first_message():
    found = block(
        failed(0, kind="cut", error="gone"),
        failed(1, error="first of its kind"),
        failed(2, error="second"),
        failed(3, kind="", error="who knows"),
        row(4),
    )
    assert found["errors"] == {
        "http_500": {"count": 2, "first": "first of its kind"},
        "cut": {"count": 1, "first": "gone"},
        "unknown": {"count": 1, "first": "who knows"},
    }
    assert (found["completed"], found["failed"]) == (1, 4)


def test_lengths_finish_reasons_reasoning():
    found = block(
        row(
            0,
            0.0,
            0.1,
            (0.1, 0.1),
            expected_output_len=3,
            finish_reason="length",
            reasoning_tokens=2,
            first_answer_time=0.3,
        ),
        row(1, 0.0, 0.1, (), expected_output_len=3, finish_reason="stop"),
        row(2, 0.0, 0.1, (0.1,), tokens=9, expected_output_len=3, finish_reason="stop"),
        row(
            3, 0.0, 0.1, (), tokens=-1, expected_output_len=3
        ),  # its length nobody told: neither shorter nor longer
        failed(4, expected_output_len=3, finish_reason="length"),
    )
    assert found["output_length"] == {"as_asked": 1, "shorter": 1, "longer": 1}
    assert found["finish_reasons"] == {"stop": 2, "length": 1}
    assert found["reasoning_tokens"] == 2
    assert found["time_to_first_answer_token_ms"]["mean"] == pytest.approx(300)
    plain = block(row(0, first_answer_time=0.1))
    assert plain["reasoning_tokens"] is None
    assert plain["time_to_first_answer_token_ms"] is None


def test_several_tokens_a_chunk():
    # 12 tokens in 3 chunks, 0.4 s apart: 4 tokens each, 0.1 s a token.
    found = block(row(0, 0.0, 0.1, (0.4, 0.4), tokens=12))
    assert found["tokens_per_event"] == 4.0
    assert found["per_token_itl_ms"]["mean"] == pytest.approx(100)
    assert found["per_token_itl_ms"]["p99"] == pytest.approx(100, rel=1e-3)
    assert found["peak_output_tokens_per_s"] == 12.0


def test_several_tokens_in_a_chunk_from_a_server_that_counts_none():
    # An answer of nine chunks every two seconds; the tokenizer finds 36 tokens in each.
    rows = [row(i, 2.0 * i, 0.1, (0.1,) * 8, tokens=-1) for i in range(60)]
    found = block(*rows, counted=np.full(60, 36), duration=120.0)
    assert found["tokens_per_event"] == 4.0
    assert found["per_token_itl_ms"]["mean"] == pytest.approx(25)
    assert found["peak_output_tokens_per_s"] == 36
    assert found["steady_state"]["output_throughput"] == pytest.approx(18, rel=0.02)


def test_figures_by_label_and_by_turn():
    found = block(
        row(0, 0.0, 0.1, (0.1,), label="chat", turn=0),
        row(1, 0.0, 0.3, (0.2, 0.2), label="chat", turn=1),
        row(2, 0.0, 0.5, (), label="code", turn=10),
        failed(3, label="code", turn=1),
        row(4, 0.0, 9.0),  # neither
        goodput={"ttft": 200.0},
    )
    chat, code = found["by_label"]["chat"], found["by_label"]["code"]
    assert list(found["by_label"]) == ["chat", "code"]
    assert (chat["requests"], chat["completed"], chat["output_tokens"], chat["goodput_share"]) == (
        2,
        2,
        5,
        0.5,
    )
    assert chat["ttft_ms"]["mean"] == pytest.approx(200)
    # Gaps of the group alone: 0.1, 0.2, 0.2.
    assert chat["itl_ms"]["mean"] == pytest.approx(500 / 3)
    assert (code["completed"], code["failed"], code["output_throughput"]) == (1, 1, 0.1)
    assert code["itl_ms"] is None
    assert list(found["by_turn"]) == ["0", "1", "10"]
    assert block(row(0))["by_label"] == {} == block(row(0))["by_turn"]


def test_steady_state():
    # Ten at a time, 1 s each, 0.1 s apart: one completion each 0.1 s, ten tokens each.
    rows = [row(i, i * 0.1, 0.1, (0.1,) * 9) for i in range(200)]
    found = block(*rows, duration=21.0)["steady_state"]
    # Filled with the tenth request (0.9 s), the last one is sent at 19.9.
    assert found["begin_s"] == pytest.approx(0.9, abs=0.11)
    assert found["window_s"] == pytest.approx(19.0, abs=0.11)
    assert found["request_throughput"] == pytest.approx(10, rel=0.02)
    assert found["output_throughput"] == pytest.approx(100, rel=0.02)
    assert found["mean_concurrent_requests"] == pytest.approx(10, rel=0.02)
    assert found["mean_ttft_ms"] == pytest.approx(100)


def test_a_queue_that_grows_has_no_steady_state():
    # 60 a second arrive and 48 are served, so the nth waits n/48 - n/60 s.
    rows = [row(i, i / 60, 0.1 + i / 48 - i / 60) for i in range(1200)]
    found = block(*rows, duration=25.0)
    assert found["overload"]["offered"] == pytest.approx(60, rel=0.02)
    assert found["overload"]["completed"] == pytest.approx(48, rel=0.02)
    assert found["steady_state"] is None


def test_missing_is_none_and_never_0():
    found = block(failed(0), duration=1.0)
    for key in (
        "per_token_itl_ms",
        "steady_state",
        "time_to_first_answer_token_ms",
        "reasoning_tokens",
        "tokens_per_event",
    ):
        assert found[key] is None, key
    assert found["latency_from_intended_arrival_ms"] == {"ttft": None, "e2el": None, "wait": None}
    pooling = block(row(0, token_times=np.empty(0), output_len=0), kind="pooling")
    assert pooling["peak_output_tokens_per_s"] is None
    assert pooling["peak_concurrent_requests"] == 1
    nothing = block()
    assert (nothing["completed"], nothing["peak_concurrent_requests"]) == (0, 0)


def test_of_the_run():
    audit = AuditInputs(lags(0.001), lags(0.001))
    found = block(
        row(0),
        audit=audit,
        interrupted=True,
        unsent=7,
        workers=[{"id": "w"}],
        environment={"python": "3"},
    )
    assert (found["interrupted"], found["unsent_requests"]) == (True, 7)
    assert found["audit"]["client_limited"] is False
    assert (found["workers"], found["environment"]["python"]) == ([{"id": "w"}], "3")
    assert found["version"]


def test_a_failed_request_of_a_group_meets_no_objective():
    found = block(row(0, label="a"), failed(1, label="a"), goodput={"ttft": 200.0})
    assert found["by_label"]["a"]["goodput_share"] == 0.5


def test_a_cancelled_request_is_in_no_share_of_a_group():
    gone = failed(1, label="a", kind="cancelled")
    found = block(row(0, label="a"), gone, goodput={"ttft": 200.0})
    assert found["slo_attainment"]["all"] == found["by_label"]["a"]["goodput_share"] == 1.0
    assert block(gone, goodput={"ttft": 200.0})["by_label"]["a"]["goodput_share"] is None


def test_tokens_generated_after_a_cancellation_are_those_beyond_the_ones_that_came():
    # Chunks of two tokens: 10 received in full, 6 before the cancellation; the server made 20.
    gone = failed(1, kind="cancelled", token_times=np.array([0.1, 0.2, 0.3]))
    rows = row(0, gaps=(0.1,) * 4, tokens=10), gone
    readings = {"u": [Reading(0.0), Reading(9.0, {"generation_tokens": 20.0})]}
    found = block(*rows, server=readings)["cancelled"]
    assert (found["token_events"], found["generated_after"]) == (3, 4)
    store = RecordStore(max_exact_tokens=1)
    store.add(columns(*rows))
    done = figures(store.columns(), folded=store.folded, server=readings).block["cancelled"]
    assert (done["token_events"], done["generated_after"]) == (None, None)
