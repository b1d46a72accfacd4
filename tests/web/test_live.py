"""The live figures against arithmetic: bounded, mergeable, and never more than 1% off numpy's."""

from __future__ import annotations

import json
import sys
from types import FrameType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.live_histogram import (
    BINS,
    MIDDLES_MS,
    Samples,
    bins_of,
    bounds_ms,
    percentiles,
)
from llmbench_locust.metrics.live_series import Series
from llmbench_locust.records import RecordColumns, RequestRecord

latency = st.floats(min_value=0.002, max_value=9e6)


def record(
    index: int, start: float, ttft: float = 0.1, gap: float = 0.02, tokens: int = 5, **more: object
) -> RequestRecord:
    """A success whose token events are ``gap`` s apart. Times are absolute."""
    times = start + ttft + gap * np.arange(tokens)
    values: dict[str, object] = {
        "success": True,
        "status": 200,
        "prompt_len": 10,
        "output_len": tokens,
        "due_time": start,
        "start_time": start,
        "first_token_time": float(times[0]),
        "end_time": float(times[-1]),
        "token_times": times,
    }
    return RequestRecord(index, **{**values, **more})  # type: ignore[arg-type]


def failure(
    index: int, start: float, kind: str = "http_429", error: str = "too many"
) -> RequestRecord:
    return RequestRecord(
        index,
        error=error,
        error_kind=kind,
        due_time=start,
        start_time=start,
        end_time=start + 0.01,
        prompt_len=10,
    )


def columns(*records: RequestRecord) -> RecordColumns:
    return RecordColumns.from_records(records)


def running(goodput: dict[str, float] | None = None, start_s: float = 100.0) -> LiveStats:
    live = LiveStats(goodput or {}, (50.0, 90.0, 99.0))
    live.reset({"model": "m"})
    live.begin()
    live.counters({"start_s": start_s}, now_s=start_s)
    return live


# --- the histogram


@given(st.lists(latency, min_size=1, max_size=60), st.floats(0, 100))
@settings(deadline=None)
def test_percentiles_are_numpys_to_one_percent(values: list[float], q: float) -> None:
    counts = np.bincount(bins_of(np.array(values)), minlength=BINS)
    assert percentiles(counts, [q])[0] == pytest.approx(np.percentile(values, q), rel=0.0101)


@given(st.lists(latency, min_size=1, max_size=40), st.integers(0, 40))
@settings(deadline=None)
def test_samples_in_parts_equal_samples_in_one_go(values: list[float], cut: int) -> None:
    whole, parts = Samples(), Samples()
    array = np.array(values)
    whole.add(array, bins_of(array))
    for part in (array[:cut], array[cut:]):
        parts.add(part, bins_of(part))
    assert np.array_equal(whole.counts, parts.counts)
    assert parts.figures((99.0,)) == pytest.approx(whole.figures((99.0,)), rel=1e-6, abs=1e-3)
    assert whole.figures(())["mean"] == pytest.approx(np.mean(values))
    assert whole.figures(())["max"] == max(values)


def test_a_sample_outside_the_range_lands_in_the_first_or_last_bin() -> None:
    assert bins_of(np.array([0.0, -1.0, 1e-9, 1e12])).tolist() == [0, 0, 0, BINS - 1]


def test_counts_up_to_a_bound_are_exact() -> None:
    bounds, ends = bounds_ms()
    # 1 ms and 10 ms are bounds themselves, and "less or equal" counts them in.
    values = np.array([0.5, 1.0, 1.0001, 10.0, 9.99, 10.01])
    cumulated = np.concatenate(([0], np.cumsum(np.bincount(bins_of(values), minlength=BINS))))
    upto = dict(zip(np.round(bounds, 6).tolist(), cumulated[ends].tolist(), strict=True))
    assert (upto[1.0], upto[10.0], upto[100.0]) == (2, 5, 6)


def test_bins_are_centred_on_their_values() -> None:
    assert np.array_equal(bins_of(MIDDLES_MS), np.arange(BINS))


# --- the series


@given(
    st.lists(
        st.tuples(st.floats(0, 5000), st.floats(0, 30), st.integers(0, 50)), min_size=1, max_size=30
    ),
    st.sampled_from([4, 8, 600]),
)
@settings(deadline=None)
def test_nothing_is_lost_when_buckets_are_merged(
    reports: list[tuple[float, float, int]], buckets: int
) -> None:
    series = Series(buckets)
    for at, length, amount in reports:
        series.spread("sent", amount, at, at + length)
        series.observe("e2el", np.full(amount, at), np.full(amount, 300))
    assert series.used <= buckets
    rows, _ = series.rows()
    assert rows["index"] == list(range(series.used))
    spans = np.clip(series.end_s - np.array(rows["t"]), 1e-9, series.width_s)
    known = [(r, s) for r, s in zip(rows["sent"], spans, strict=True) if r is not None]
    total = sum(amount for *_, amount in reports)
    if len(known) == len(spans):
        assert sum(r * s for r, s in known) == pytest.approx(
            total, abs=1e-4 * series.width_s * len(known)
        )
    heat = rows["latency"].get("e2el", {"heat": []})["heat"]
    assert sum(sum(row[1::2]) for row in heat) == total


def test_an_amount_is_spread_over_the_time_in_which_it_came() -> None:
    series = Series()
    series.spread("sent", 20, 0.5, 2.5)
    series.spread("sent", 0, 2.5, 3.0)
    assert series.rows()[0]["sent"][:3] == [5.0, 10.0, 5.0]


def test_what_the_server_says_stands_at_its_time() -> None:
    live = running(start_s=100.0)
    values = {"running": 3.0, "kv_cache_usage": 0.25, "gpu_power": 400.0, "preemptions": 9.0}
    live.server(99.0, values)
    live.server(102.5, values)
    series = live.snapshot()["series"]
    at = series["index"].index(2)
    shown = {name: series[name][at] for name in ("server_running", "server_kv_cache", "gpu_power")}
    assert shown == {"server_running": 3, "server_kv_cache": 25, "gpu_power": 400}
    assert series["server_waiting"][at] is None
    assert live.snapshot()["validity"] is None


def test_since_gives_what_changed_also_in_old_buckets() -> None:
    series = Series()
    series.spread("sent", 10, 0.0, 10.0)
    version = series.version
    assert series.rows(version)[0]["index"] == []
    series.observe("itl", np.array([3.2, 9.0]), np.array([5, 5]))
    assert series.rows(version)[0]["index"] == [3, 9]
    assert len(series.rows(10**9)[0]["index"]) == 11, "a version of another life means everything"


def test_a_debugger_that_looks_at_the_arrays_disturbs_nothing() -> None:
    series = Series()
    series.spread("sent", 10, 0.0, 10.0)
    version = series.version

    def trace(frame: FrameType, *_: object) -> object:
        frame.f_locals  # noqa: B018 (it keeps a reference to each local)
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        series.observe("itl", np.array([3.2, 9.0]), np.array([5, 5]))
    finally:
        sys.settrace(earlier)
    assert series.rows(version)[0]["index"] == [3, 9]


def test_rows_come_in_portions() -> None:
    series = Series()
    series.spread("sent", 10, 0.0, 99.5)
    series.gauge("waiting", 7.0, 3)
    got: list[int] = []
    version, portions = 0, 0
    while version < series.version:
        rows, version = series.rows(version, most=30)
        got += rows["index"]
        portions += 1
    assert sorted(got) == list(range(100))
    assert portions == 4


def test_a_long_run_doubles_the_width_of_its_buckets() -> None:
    series = Series(4)
    series.spread("sent", 16, 0.0, 16.0)
    assert (series.width_s, series.used) == (8.0, 3)
    assert series.rows()[0]["sent"][:2] == [1.0, 1.0]


def test_percentiles_of_merged_buckets_are_of_all_their_samples() -> None:
    series = Series(4)
    series.observe("e2el", np.array([0.5, 1.5]), bins_of(np.array([10.0, 1000.0])))
    assert series.rows()[0]["latency"]["e2el"]["p50"][:2] == pytest.approx([10, 1000], rel=0.01)
    series.spread("sent", 1, 0.0, 5.0)
    assert series.rows()[0]["latency"]["e2el"]["p50"][0] == pytest.approx(505, rel=0.01)


# --- the whole


def test_latencies_by_hand() -> None:
    live = running()
    live.add(
        columns(
            record(0, 100.0, ttft=0.1, gap=0.02, tokens=5),
            record(1, 100.5, ttft=0.3, gap=0.04, tokens=3),
        )
    )
    live.counters({"sent": 2, "completed": 2}, now_s=102.0)
    rows = {r["key"]: r for r in live.snapshot()["latency"]}
    assert rows["ttft"]["mean"] == pytest.approx(200.0)
    assert rows["tpot"]["mean"] == pytest.approx(30.0)
    assert rows["itl"]["mean"] == pytest.approx((4 * 20 + 2 * 40) / 6)
    assert rows["e2el"]["mean"] == pytest.approx((180 + 380) / 2)
    assert rows["e2el"]["std"] == pytest.approx(100.0)
    totals = live.totals()
    assert (totals["completed"], totals["total_output_tokens"], totals["total_input_tokens"]) == (
        2,
        8,
        20,
    )
    assert totals["request_throughput"] == pytest.approx(1.0)
    assert totals["output_throughput"] == pytest.approx(4.0)


def test_goodput_and_attainment_by_objective() -> None:
    live = running({"ttft": 150.0, "tpot": 25.0})
    live.add(
        columns(
            record(0, 100.0, ttft=0.1, gap=0.02),
            record(1, 100.0, ttft=0.2, gap=0.02),
            record(2, 100.0, ttft=0.1, gap=0.03),
            record(3, 100.0, ttft=0.1, tokens=1),  # one token: its TPOT counts as 0
            failure(4, 100.0),
        )
    )
    live.counters({"sent": 5}, now_s=104.0)
    shares = {r["metric"]: (r["met"], r["of"]) for r in live.slo()}
    assert shares == {"ttft": (3, 5), "tpot": (3, 5), "all": (2, 5)}
    assert live.totals()["request_goodput"] == pytest.approx(0.5)


def test_when_the_run_is_over_its_result_replaces_what_was_counted_live() -> None:
    # No usage: each chunk counted as a token; the tokenizer found three in each.
    live = running({"tpot": 10.0})
    live.add(columns(record(0, 100.0, gap=0.03, tokens=5), failure(1, 100.0)))
    live.counters({"sent": 2}, now_s=104.0)
    assert [row["share"] for row in live.slo()] == [0, 0]
    tokens = {"total_output_tokens": 15, "output_throughput": 3.75, "request_goodput": 0.25}
    attained = {"tpot": 0.5, "all": 0.5}
    live.finish({**tokens, "llmbench": {"slo_attainment": attained}}, {"client_limited": False})
    assert {key: live.totals()[key] for key in tokens} == tokens
    assert [(row["met"], row["of"], row["share"]) for row in live.slo()] == [(1, 2, 0.5)] * 2


def test_errors_are_counted_by_kind_with_one_example() -> None:
    live = running()
    live.add(
        columns(
            failure(0, 100.0), failure(1, 100.0), failure(2, 100.0, "connect", "<b>refused</b>")
        )
    )
    assert live.snapshot()["errors"] == [
        {"kind": "http_429", "count": 2, "example": "too many"},
        {"kind": "connect", "count": 1, "example": "<b>refused</b>"},
    ]
    live.add(columns(*(failure(i, 100.0, f"kind{i}") for i in range(200))))
    assert len(live.errors) <= 51
    assert sum(live.errors.values()) == 203


def test_a_failed_request_is_in_no_latency() -> None:
    live = running()
    cut = record(1, 100.0, ttft=3.0, gap=5.0, success=False, error_kind="cut")
    live.add(columns(cut, record(0, 100.0), failure(1, 100.0)))
    assert all(s.max_ms < 1000 for s in live.samples.values())
    rows = live.snapshot()["series"]
    assert [sum(h[1::2]) for h in rows["latency"]["itl"]["heat"]] == [4] + [0] * (
        len(rows["t"]) - 1
    )
    assert all(s.count <= 4 for s in live.samples.values())
    assert live.samples["e2el"].count == 1


def test_tokens_of_chunks_that_carry_several_are_counted() -> None:
    live = running()
    live.counters({"sent": 1, "token_events": 5}, now_s=101.0)
    live.add(columns(record(0, 100.0, tokens=5, output_len=20)))
    live.counters({"sent": 1, "token_events": 5}, now_s=102.0)
    rows = live.snapshot()["series"]
    assert rows["tokens"][0] == pytest.approx(20.0)
    assert live.totals()["total_output_tokens"] == 20


def test_a_worker_that_is_lost_makes_no_negative_rate() -> None:
    live = running()
    live.counters({"sent": 100, "token_events": 1000}, now_s=101.0)
    live.counters({"sent": 60, "token_events": 600}, now_s=102.0)
    live.counters({"sent": 110, "token_events": 1100}, now_s=103.0)
    rows = live.snapshot()["series"]
    assert rows["sent"][:3] == [100.0, 0.0, 10.0]
    assert live.totals()["sent"] == 110


def test_the_documents_figures_take_the_place_of_the_live_ones() -> None:
    live = running()
    live.add(columns(record(0, 100.0)))
    live.finish(
        {
            "completed": 7,
            "duration": 2.5,
            "request_throughput": 2.8,
            "mean_ttft_ms": 123.4,
            "p99_ttft_ms": 150.0,
            "request_goodput": None,
        },
        {"client_limited": True, "reasons": ["the event loop ran late"]},
    )
    shot = live.snapshot()
    assert shot["state"] == "finished"
    completed = {r["key"]: r["value"] for r in shot["summary"]}["completed"]
    assert json.dumps(completed) == "7"
    ttft = next(r for r in shot["latency"] if r["key"] == "ttft")
    assert (ttft["mean"], ttft["percentiles"]["p99"]) == (123.4, 150.0)
    assert shot["audit"]["client_limited"] is True
    assert live.elapsed_s == 2.5


def test_a_run_in_which_nothing_succeeded_has_no_latency() -> None:
    """vLLM's document then says 0 ms."""
    live = running()
    live.add(columns(failure(0, 100.0)))
    live.finish({"completed": 0, "failed": 1, "mean_ttft_ms": 0.0, "p99_ttft_ms": 0.0}, None)
    assert live.snapshot()["latency"] == []


def test_a_pooling_run_has_no_figures_of_output_tokens() -> None:
    live = running()
    live.reset({"kind": "pooling"})
    live.begin()
    live.counters({"start_s": 100.0, "sent": 1}, now_s=101.0)
    keys = {row["key"] for row in live.snapshot()["summary"]}
    assert {"completed", "request_throughput", "total_token_throughput"} <= keys
    assert not {"output_throughput", "total_output_tokens", "max_concurrent_requests"} & keys


def test_the_first_tokens_are_shown_before_the_first_request_ends() -> None:
    live = running()
    live.counters({"sent": 3, "in_flight": 3, "ttft_ms": [100.0, 200.0, 300.0]}, now_s=101.0)
    ttft = next(r for r in live.snapshot()["latency"] if r["key"] == "ttft")
    assert ttft["mean"] == pytest.approx(200.0)
    live.add(columns(record(0, 100.0)))
    assert live.samples["ttft"].count == 3, "not counted twice"


def test_lags_come_as_samples() -> None:
    live = running()
    lags = {"send_lag_ms": [0.1, 0.2, 5.0], "loop_lag_ms": [0.1, 2.0, 9.0]}
    live.counters({"sent": 1, **lags}, now_s=101.0)
    audit = live.audit_now()
    assert (audit["send_lag_ms"]["max"], audit["loop_lag_ms"]["max"]) == (5.0, 9.0)
    assert audit["client_limited"] is None


def test_a_new_run_starts_from_nothing() -> None:
    live = running({"ttft": 1.0})
    live.add(columns(record(0, 100.0), failure(1, 100.0)))
    live.reset({"model": "other", "goodput_ms": {"e2el": 5.0}, "request_rate": float("inf")})
    shot = live.snapshot()
    assert (shot["run"], shot["errors"], shot["latency"], shot["objectives_ms"]) == (
        2,
        [],
        [],
        {"e2el": 5.0},
    )
    assert shot["info"]["request_rate"] == "inf"
    assert shot["totals"]["completed"] == 0


times = st.floats(0, 50)
any_record = st.one_of(
    st.builds(
        lambda t, ttft, gap, n: record(0, 100 + t, ttft, gap, n),
        times,
        st.floats(0.001, 20),
        st.floats(0, 3),
        st.integers(1, 9),
    ),
    st.builds(lambda t: failure(0, 100 + t), times),
    st.builds(lambda: RequestRecord(0, error_kind="worker_lost")),  # nothing of it is known
    st.builds(
        lambda t: record(0, 100 + t, tokens=1, token_times=np.empty(0), output_len=-1), times
    ),  # pooling
)


@given(st.lists(any_record, max_size=12), st.integers(0, 12))
@settings(deadline=None)
def test_batches_do_not_matter_and_every_snapshot_is_json(
    records: list[RequestRecord], cut: int
) -> None:
    whole, parts = running({"ttft": 500.0}), running({"ttft": 500.0})
    whole.add(columns(*records))
    for part in (records[:cut], records[cut:]):
        parts.add(columns(*part))
    a, b = whole.snapshot(), parts.snapshot()
    json.dumps(a, allow_nan=False)
    for key in ("slo", "errors", "totals"):
        assert (
            a[key] == b[key]
            if key != "errors"
            else sorted(map(str, a[key])) == sorted(map(str, b[key]))
        )
    assert whole.totals()["completed"] + whole.totals()["failed"] == len(records)
    for name in whole.samples:
        assert np.array_equal(whole.samples[name].counts, parts.samples[name].counts)
