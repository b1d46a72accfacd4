"""vLLM's numbers: by hand, at the edges, and against slow loops that follow its definitions one
request at a time.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.metrics.latencies import latencies, output_lengths
from llmbench_locust.metrics.vllm import Asked, good, summarize

from .rows import columns, failed, row


def test_three_requests_by_hand():
    # r0: TTFT 100 ms, gaps 10 and 30 ms → E2EL 140 ms, TPOT (140 − 100) / 2 = 20 ms.
    # r1: TTFT 200 ms, one gap of 50 ms → E2EL 250 ms, TPOT 50 ms.
    # r2 fails after having streamed: it is in no latency.
    cols = columns(
        row(0, 0.0, 0.1, (0.01, 0.03)),
        row(1, 0.5, 0.2, (0.05,)),
        row(2, 0.6, 0.9, (0.7,), success=False, error="cut", error_kind="cut"),
    )
    s = summarize(cols, duration_s=2.0, asked=Asked([25, 99]))
    d = s.distributions
    assert (s.completed, s.failed, s.total_input, s.total_output) == (2, 1, 20, 5)
    assert (s.request_throughput, s.output_throughput, s.total_token_throughput) == (1.0, 2.5, 12.5)
    assert d["ttft"].mean == pytest.approx(150)
    assert d["ttft"].median == pytest.approx(150)
    assert d["ttft"].std == pytest.approx(50)
    assert dict(d["ttft"].percentiles) == pytest.approx({25: 125, 99: 199})
    assert d["itl"].mean == pytest.approx(30)
    assert d["itl"].count == 3
    assert d["tpot"].mean == pytest.approx(35)
    assert d["e2el"].mean == pytest.approx(195)
    assert s.request_goodput is None


def test_the_end_of_the_stream_is_in_no_latency():
    # A usage chunk and the end marker come 5 s after the last token: E2EL is to the last token.
    s = summarize(columns(row(0, 0.0, 0.1, (0.1,), tail=5.0)), duration_s=6.0, asked=Asked([99]))
    assert s.distributions["e2el"].mean == pytest.approx(200)


def test_goodput_takes_a_value_that_equals_its_objective_and_a_tpot_of_0_for_one_token():
    cols = columns(
        row(0, 0.0, 0.25, (0.5,)),  # TTFT 250 ms, TPOT 500 ms
        row(1, 0.0, 0.25, (), tokens=1),  # one token: TPOT counts as 0, and is in no TPOT sample
        row(2, 0.0, 0.5, (), tokens=1),  # TTFT too long
        failed(3),
    )
    s = summarize(cols, duration_s=4.0, asked=Asked([99], {"ttft": 250.0, "tpot": 500.0}))
    assert s.request_goodput == 2 / 4
    assert s.distributions["tpot"].count == 1
    e2el = summarize(cols, duration_s=4.0, asked=Asked([99], {"e2el": 500.0}))
    assert e2el.request_goodput == 2 / 4


def test_peaks_are_of_whole_seconds_from_the_earliest_start():
    # Seconds count from 10.5. Second 0: 10.6, 11.4. Second 1: 11.6, and of the other request 11.55
    # and 12.45.
    cols = columns(row(0, 10.5, 0.1, (0.8, 0.2)), row(1, 11.5, 0.05, (0.9,)))
    s = summarize(cols, duration_s=2.0, asked=Asked([99]))
    assert s.max_output_tokens_per_s == 3.0
    # r0 touches the seconds 0 and 1, r1 the second 1 alone (to 12.45): two in second 1, though they
    # overlap but for 0.1 s.
    assert s.max_concurrent_requests == 2
    one = summarize(columns(row(0, 0.0, 0.1), row(1, 0.5, 0.1)), duration_s=1.0, asked=Asked([99]))
    assert one.max_concurrent_requests == 2  # never together, but in one second: vLLM's way


def test_nothing_succeeded():
    s = summarize(columns(failed(0), failed(1)), duration_s=1.0, asked=Asked([99], {"ttft": 1.0}))
    assert (s.completed, s.failed, s.total_output, s.request_goodput) == (0, 2, 0, 0.0)
    assert (s.max_output_tokens_per_s, s.max_concurrent_requests) == (0.0, 0)
    assert all(d.mean == 0.0 and d.percentiles == ((99, 0.0),) for d in s.distributions.values())


def test_no_request_at_all():
    s = summarize(columns(), duration_s=0.0, asked=Asked([99]))
    assert (s.completed, s.failed, s.request_throughput) == (0, 0, 0.0)


def test_pooling_counts_the_servers_tokens_and_each_input():
    cols = columns(
        row(
            0,
            0.0,
            0.1,
            tail=0.3,
            num_sequences=4,
            input_tokens=37,
            token_times=np.empty(0),
            output_len=0,
        ),
        row(1, 0.0, 0.1, tail=0.1, num_sequences=2, token_times=np.empty(0), output_len=0),
        failed(2),
    )
    s = summarize(cols, duration_s=2.0, asked=Asked([99], kind="pooling"))
    assert (s.total_input, s.total_sequences, s.total_output) == (47, 6, 0)
    assert (s.sequence_throughput, s.total_token_throughput) == (3.0, 23.5)
    # (100 + 300 and 100 + 100) / 2: until the whole body was read.
    assert s.distributions["e2el"].mean == pytest.approx(300)
    assert s.distributions["ttft"].count == 0


def test_an_answer_in_one_piece_has_an_end_to_end_latency():
    cols = columns(
        row(0, 1.0, 0.1, tail=0.4, token_times=np.empty(0), first_token_time=math.nan, output_len=8)
    )
    s = summarize(cols, duration_s=1.0, asked=Asked([99]))
    assert s.distributions["e2el"].mean == pytest.approx(500)
    assert s.distributions["ttft"].count == s.distributions["tpot"].count == 0
    assert s.total_output == 8


def test_audio_seconds_by_seconds():
    cols = columns(row(0, audio_s=30.0), row(1, audio_s=10.0), failed(2, audio_s=99.0))
    assert summarize(cols, duration_s=4.0, asked=Asked([99])).rtfx == 10.0


def test_the_queue_of_the_client():
    cols = columns(
        row(0, 0.0, 0.1, client_queue_time=0.0), row(1, 0.3, 0.1, client_queue_time=0.3), failed(2)
    )
    d = summarize(cols, duration_s=1.0, asked=Asked([99])).distributions
    assert d["client_queue_time"].mean == pytest.approx(150)
    assert d["e2el_including_client_queue"].mean == pytest.approx(250)


def test_lengths_the_server_told_then_the_tokenizers_then_one():
    cols = columns(
        row(0, tokens=7), row(1, tokens=-1), row(2, tokens=-1), row(3, tokens=0), failed(4)
    )
    counted = np.array([-1, 5, -1, 6, -1])
    assert output_lengths(cols, counted).tolist() == [7, 5, 1, 6, 0]
    assert output_lengths(cols).tolist() == [7, 1, 1, 0, 0]


records = st.lists(
    st.tuples(
        st.floats(0, 30),  # start
        st.floats(0.001, 5),  # TTFT
        st.lists(st.floats(0, 2), max_size=6),  # gaps
        st.integers(1, 20),  # tokens
        st.booleans(),  # success
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(records, st.floats(1, 100), st.floats(1, 2000), st.floats(1, 2000))
def test_arrays_give_what_loops_give(rows, duration, slo_ttft, slo_tpot):
    cols = columns(
        *(row(i, s, t, g, tokens=n, success=ok) for i, (s, t, g, n, ok) in enumerate(rows))
    )
    s = summarize(
        cols, duration_s=duration, asked=Asked([7, 99], {"ttft": slo_ttft, "tpot": slo_tpot})
    )
    ttfts, tpots, itls, good, total = [], [], [], 0, 0
    for i, (_, _, _, tokens, ok) in enumerate(rows):
        if not ok:
            continue
        times = cols.token_times[cols.token_offsets[i] : cols.token_offsets[i + 1]].tolist()
        start = float(cols.floats["start_time"][i])
        ttft, latency, tpot = times[0] - start, times[-1] - start, 0.0
        if tokens > 1:
            tpot = (latency - ttft) / (tokens - 1)
            tpots.append(tpot)
        ttfts.append(ttft)
        itls += [b - a for a, b in itertools.pairwise(times)]
        good += ttft <= slo_ttft / 1000 and tpot <= slo_tpot / 1000
        total += tokens
    assert s.request_goodput == good / duration
    assert s.total_output == total
    for name, values in (("ttft", ttfts), ("tpot", tpots), ("itl", itls)):
        d = s.distributions[name]
        assert d.count == len(values)
        if values:
            assert d.mean == pytest.approx(sum(values) / len(values) * 1000, rel=1e-9, abs=1e-9)
            assert dict(d.percentiles)[7] == pytest.approx(
                _percentile(values, 7) * 1000, rel=1e-9, abs=1e-9
            )


def _percentile(values, p):
    ranked = sorted(values)
    at = p / 100 * (len(ranked) - 1)
    low = math.floor(at)
    return ranked[low] + (ranked[math.ceil(at)] - ranked[low]) * (at - low)


def test_the_first_answer_token_comes_after_reasoning():
    """Row 0 reasons for 0.3 s, row 1 answers at once, row 2 reasons and never answers."""
    rows = columns(
        row(0, 0.0, 0.1, (0.3, 0.1), first_answer_time=0.4, reasoning_tokens=1),
        row(1, 1.0, 0.1, (0.1,)),
        row(2, 2.0, 0.1, (0.1,), reasoning_tokens=2),
        failed(3, 3.0),
    )
    found = latencies(rows, output_lengths(rows))
    assert found.ttfo_s == pytest.approx([0.4, 0.1, np.nan, np.nan], nan_ok=True)
    assert found.reasoned
    assert good(found, {"ttfo": 400.0}).tolist() == [True, True, False, False]
    assert good(found, {"ttfo": 399.0}).tolist() == [False, True, False, False]
