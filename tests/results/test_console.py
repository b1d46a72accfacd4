"""The table beyond the gold files: pooling, speculative decoding, probes; and what stands below
it.
"""

import numpy as np

from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.results.console import render_console
from tests.metrics.rows import failed, lags, row

from .runs import config, finished


def lines_of(*records, given=None, kind="generation", audit=None, **more):
    done = finished(*records, given=given, kind=kind, audit=audit, **more)
    return [line.rstrip() for line in render_console(done).splitlines()]


def test_poolings_layout():
    given = config(percentile_metrics=("e2el",), max_concurrency=4)
    answer = {"token_times": np.empty(0), "output_len": 0, "num_sequences": 3}
    lines = lines_of(
        row(0, tail=0.1, **answer), row(1, tail=0.3, **answer), given=given, kind="pooling"
    )
    # (0.1 + 0.1 and 0.1 + 0.3) / 2 = 300 ms; P99 = 200 + 0.99 · 200.
    assert lines == [
        "============ Serving Benchmark Result ============",
        "Successful requests:                     2",
        "Failed requests:                         0",
        "Maximum request concurrency:             4",
        "Request rate configured (RPS):           2.00",
        "Benchmark duration (s):                  2.00",
        "Total input tokens:                      20",
        "Request throughput (req/s):              1.00",
        "Input throughput (inputs/s):             3.00",
        "Total token throughput (tok/s):          10.00",
        "----------------End-to-end Latency----------------",
        "Mean E2EL (ms):                          300.00",
        "Median E2EL (ms):                        300.00",
        "P99 E2EL (ms):                           398.00",
        "==================================================",
        "Result: NOT VALID (too_few_samples): P99 needs at least 662 successful requests; this run "
        "has 2. Raise --num-prompts.",
    ]


def test_pooling_has_no_output_throughput_per_gpu():
    answer = {"token_times": np.empty(0), "output_len": 0}
    given = config(percentile_metrics=("e2el",), num_gpus=2)
    text = "\n".join(lines_of(row(0, **answer), kind="pooling", given=given))
    assert "Total throughput (tok/s/GPU)" in text
    assert "Output throughput" not in text


def test_speculative_decoding_probes_and_the_clients_queue():
    spec = {
        "spec_decode_acceptance_rate": 62.5,
        "spec_decode_acceptance_length": 2.25,
        "spec_decode_num_drafts": 8,
        "spec_decode_draft_tokens": 16,
        "spec_decode_accepted_tokens": 10,
        "spec_decode_per_position_acceptance_rates": [0.75, 0.5],
    }
    probes = {
        "probe_completed": 5,
        "probe_failed": 1,
        "probe_median_e2el_ms": 10.0,
        "probe_p99_e2el_ms": 20.0,
        "probe_max_e2el_ms": 30.0,
    }
    given = config(
        percentile_metrics=("client_queue_time", "e2el_including_client_queue"), max_concurrency=4
    )
    lines = lines_of(row(0), given=given, spec_decode=spec, probes=probes)
    at = lines.index("------------------Probe Requests------------------")
    assert lines[at + 1 : at + 9] == [
        "Probe requests completed:                5",
        "Probe requests failed:                   1",
        "Median probe E2EL (ms):                  10.00",
        "P99 probe E2EL (ms):                     20.00",
        "Max probe E2EL (ms):                     30.00",
        "---------------Client-side Queueing---------------",
        "Mean Client Queue Time (ms):             0.00",
        "Median Client Queue Time (ms):           0.00",
    ]
    assert "--------Queue-inclusive End-to-end Latency--------" in lines
    at = lines.index("---------------Speculative Decoding---------------")
    assert lines[at + 1 : at + 9] == [
        "Acceptance rate (%):                     62.50",
        "Acceptance length:                       2.25",
        "Drafts:                                  8",
        "Draft tokens:                            16",
        "Accepted tokens:                         10",
        "Per-position acceptance (%):",
        "  Position 0:                            75.00",
        "  Position 1:                            50.00",
    ]


def test_what_failed_each_kind_once():
    lines = lines_of(
        failed(0, error="first"), failed(1, error="second"), failed(2, kind="cut", error=""), row(3)
    )
    assert "2 requests failed with http_500; the first: first" in lines
    assert "1 request failed with cut; the first: no message" in lines
    many = lines_of(*(failed(i, kind=f"http_{500 + i}") for i in range(12)))
    assert sum("failed with" in line for line in many) == 10
    assert any("2 more kinds" in line for line in many)


def test_nobody_misses_that_the_client_was_the_limit():
    audit = AuditInputs(lags(0.05), lags(0.001), {"local": 0.97}, overflow=3)
    lines = lines_of(audit=audit)
    (line,) = (line for line in lines if "The client was the limit" in line)
    assert "P99 send lag 50.0 ms (limit 10); process local used 97% of a core (limit 90%)" in line
    assert sum("P99 send lag 50.0" in line for line in lines) == 1
    assert lines[-1].startswith("Result: NOT VALID (client_limited, ")
    assert "P99 send lag (ms):                       50.00" in lines
    assert "Requests sent by overflow:               3" in lines
    fine = lines_of(audit=AuditInputs(lags(0.001), lags(0.001)))
    assert "Client: not the limit" in fine


def test_objectives_reasoning_and_lengths():
    given = config(goodput={"ttft": 150.0})
    reasoned = row(
        0, 0.0, 0.1, (0.1, 0.1), reasoning_tokens=2, first_answer_time=0.3, expected_output_len=5
    )
    lines = lines_of(reasoned, row(1, 0.0, 0.2), given=given)
    at = lines.index("----------Objectives met (% of requests)----------")
    assert lines[at + 1 : at + 3] == [
        "ttft:                                    50.00",
        "all:                                     50.00",
    ]
    at = lines.index("------------Time to First Answer Token------------")
    assert lines[at + 1] == "Mean (ms):                               300.00"
    assert lines[at + 4] == "Reasoning tokens:                        2"
    assert "warning: 1 of 1 responses were shorter than requested" in lines


def test_figures_that_count_chunks_are_named_where_chunks_carry_several_tokens():
    text = "\n".join(lines_of(row(0, gaps=(0.4, 0.4), tokens=12)))
    assert "Peak output token throughput (tok/s):    3.00" in text
    assert "note: a chunk had 4.0 tokens on average; the ITL and the peak output throughput" in text
    assert "llmbench.peak_output_tokens_per_s" in text
