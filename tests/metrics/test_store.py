"""The store of outcomes: nothing twice, parts equal the whole, memory has a bound, and past it the
figures stay right.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.metrics.vllm import Asked, summarize
from llmbench_locust.records import RecordColumns
from tests.results.runs import figures

from .rows import columns, failed, row


def same(a: RecordColumns, b: RecordColumns) -> bool:
    return (
        np.array_equal(a.success, b.success)
        and all(np.array_equal(a.floats[n], b.floats[n], equal_nan=True) for n in a.floats)
        and all(np.array_equal(a.ints[n], b.ints[n]) for n in a.ints)
        and a.texts == b.texts
        and np.array_equal(a.token_times, b.token_times)
        and np.array_equal(a.token_offsets, b.token_offsets)
    )


def many(n, seed=0, events=20):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        start = float(i) * 0.05
        if i % 11 == 7:
            found.append(failed(i, start, start + 0.2))
        else:
            found.append(
                row(
                    i, start, rng.exponential(0.2), rng.exponential(0.03, events), label="ab"[i % 2]
                )
            )
    return found


def test_a_request_reported_twice_counts_once():
    store = RecordStore()
    assert store.add(columns(row(0), row(2))) == 2
    assert store.add(columns(row(1), row(2, prompt_len=99), failed(0))) == 1
    assert store.add(columns(row(5), row(5, prompt_len=99))) == 1
    whole = store.columns()
    assert whole.ints["index"].tolist() == [0, 1, 2, 5]
    assert len(store) == 4
    assert whole.success.all()
    assert whole.ints["prompt_len"].tolist() == [10] * 4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.data())
def test_parts_in_any_order_equal_the_whole(n, data):
    records = many(n)
    order = data.draw(st.permutations(range(n)))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=6)))
    store = RecordStore()
    for a, b in zip([0, *cuts], [*cuts, n], strict=True):
        store.add(columns(*(records[i] for i in order[a:b])))
    assert same(store.columns(), columns(*records))


def test_many_small_reports_and_figures_in_between():
    records = many(500)
    store = RecordStore()
    for i, record in enumerate(records):
        store.add(columns(record))
        if i == 250:
            assert same(store.columns(), columns(*records[:251]))
    assert same(store.columns(), columns(*records))


def test_what_is_given_is_not_changed():
    given_columns = columns(*many(20))
    before = given_columns.token_times.copy()
    store = RecordStore(max_exact_tokens=10)
    store.add(given_columns)
    assert np.array_equal(given_columns.token_times, before)
    assert store.folded is not None


def test_past_the_limit_latencies_stay_exact_and_gaps_within_a_thousandth():
    records = many(400, events=50)
    store = RecordStore(max_exact_tokens=5000)
    for begin in range(0, 400, 20):
        store.add(columns(*records[begin : begin + 20]))
    assert store.folded is not None
    wanted = summarize(
        columns(*records), duration_s=20.0, asked=Asked([1, 90, 99.9], {"ttft": 150.0})
    )
    got = summarize(
        store.columns(),
        duration_s=20.0,
        folded=store.folded,
        asked=Asked([1, 90, 99.9], {"ttft": 150.0}),
    )
    for name in ("ttft", "tpot", "e2el"):
        assert got.distributions[name] == wanted.distributions[name]
    assert (got.request_goodput, got.total_output) == (wanted.request_goodput, wanted.total_output)
    a, b = got.distributions["itl"], wanted.distributions["itl"]
    assert a.count == b.count
    assert (a.mean, a.std) == pytest.approx((b.mean, b.std), rel=1e-9)
    assert (a.median, *(v for _, v in a.percentiles)) == pytest.approx(
        (b.median, *(v for _, v in b.percentiles)), rel=1e-3
    )
    assert got.max_output_tokens_per_s == pytest.approx(wanted.max_output_tokens_per_s, rel=0.05)
    assert got.max_concurrent_requests == wanted.max_concurrent_requests
    ours = figures(store.columns(), folded=store.folded).block
    exact = figures(columns(*records)).block
    assert ours["exact"] is False
    assert exact["exact"] is True
    assert ours["folded_token_events"] + store.tokens == len(columns(*records).token_times)
    assert ours["peak_output_tokens_per_s"] == exact["peak_output_tokens_per_s"]
    assert ours["per_token_itl_ms"]["p99"] == pytest.approx(
        exact["per_token_itl_ms"]["p99"], rel=1e-3
    )
    # Groups that hold folded rows have no exact gaps: rather none than wrong ones.
    assert ours["by_label"]["a"]["itl_ms"] is None
    assert exact["by_label"]["a"]["itl_ms"] is not None
    assert ours["by_label"]["a"]["ttft_ms"] == exact["by_label"]["a"]["ttft_ms"]


def test_ten_million_token_events_in_less_than_600_mb():
    code = """
        import resource
        import numpy as np
        from llmbench_locust.records import RecordColumns
        from llmbench_locust.metrics.store import RecordStore
        from llmbench_locust.results.document import build_document
        from tests.results.runs import config, figures
        from tests.metrics.rows import row

        rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        given = config(percentile_metrics=("itl",), goodput={"ttft": 300}, save_detailed=False,
                       metric_percentiles=(99.0, 99.9))
        gaps = np.random.default_rng(0).exponential(0.02, 999)
        before = rss()
        store = RecordStore()
        for begin in range(0, 10_000, 50):
            store.add(RecordColumns.from_records([row(i, i * 0.05, 0.2,
            gaps) for i in range(begin, begin + 50)]))
        columns = store.columns()
        assert len(columns.token_times) == 10_000_000 and store.folded is None
        build_document(figures(columns, given=given, duration_s=520.0))
        print(rss() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 600
