"""Prometheus text becomes figures: expected values are worked out by hand in each test."""

import contextlib
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.server_metrics.attribution import sentences, ttft_parts
from llmbench_locust.server_metrics.figures import between, figures_of, percentile_of, summed
from llmbench_locust.server_metrics.reading import Histogram, NotMetricsError, Reading, parse
from llmbench_locust.server_metrics.vocabulary import SERVER_METRICS
from tests.metrics.rows import columns, row
from tests.results.runs import figures as run_figures

REAL = (Path(__file__).parent.parent / "data" / "vllm-metrics.txt").read_text()


def histogram_text(name, buckets, total):
    lines, count = [f"# TYPE {name} histogram"], 0
    for bound, n in buckets.items():
        count += n
        lines.append(f'{name}_bucket{{le="{bound}"}} {count}')
    return "\n".join([*lines, f"{name}_sum {total}", f"{name}_count {count}"]) + "\n"


def test_label_sets_are_summed_and_totals_found_under_both_names():
    text = (
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n'
        "# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total 10\n"
        "# TYPE sglang:prefill_effective_tokens_total counter\n"
        'sglang:prefill_effective_tokens_total{mode="input"} 6\n'
        'sglang:prefill_effective_tokens_total{mode="device_hit"} 2\n'
    )
    assert parse(text, 0).values == {
        "running": 7,
        "prompt_tokens": 10,
        "prefix_cache_queries": 8,
        "prefix_cache_hits": 2,
    }


#: What each server writes, and what we make of it.
PAGES = {
    "SGLang": (
        'sglang:num_running_reqs{priority=""} 5\nsglang:num_running_reqs{priority="1"} 2\n'
        'sglang:num_running_reqs{priority="2"} 3\nsglang:num_queue_reqs{tp_rank="0"} 4\n'
        'sglang:token_usage{dp_rank="0"} 0.4\nsglang:token_usage{dp_rank="1"} 0.6\n'
        'sglang:num_retracted_requests_total 2\nsglang:cached_tokens_total{cache_source="host"} 9\n'
        'sglang:prompt_tokens_total{is_streaming="true"} 30\n'
        'sglang:prompt_tokens_total{is_streaming="false"} 10\nsglang:generation_tokens_total 7\n'
        "sglang:num_requests_total 6\nsglang:num_aborted_requests_total 1\n"
        'sglang:spec_verify_calls_total 3\nsglang:queue_time_seconds_bucket{le="+Inf"} 2\n'
        "sglang:queue_time_seconds_sum 3\nsglang:queue_time_seconds_count 2\n",
        {
            "running": 5,
            "waiting": 4,
            "kv_cache_usage": 0.5,
            "preemptions": 2,
            "cached_prompt_tokens": 9,
            "prompt_tokens": 40,
            "generation_tokens": 7,
            "requests_finished": 7,
            "spec_drafts": 3,
        },
        ["queue_time"],
    ),
    "TGI": (
        "tgi_batch_current_size 3\ntgi_queue_size 1\ntgi_request_success 8\n"
        'tgi_request_failure{err="generation"} 1\ntgi_request_failure{err="dropped"} 1\n'
        "tgi_request_input_length_sum 50\ntgi_request_input_length_count 2\n"
        "tgi_request_generated_tokens_sum 20\ntgi_request_generated_tokens_count 2\n"
        'tgi_request_skipped_tokens{quantile="0.5"} 1\ntgi_request_skipped_tokens_sum 6\n'
        "tgi_request_skipped_tokens_count 2\n"
        + "".join(
            f"tgi_request_{name}_sum 1\ntgi_request_{name}_count 2\n"
            for name in (
                *("queue_duration", "inference_duration", "mean_time_per_token_duration"),
                "duration",
            )
        ),
        {
            "running": 3,
            "waiting": 1,
            "requests_finished": 10,
            "prompt_tokens": 50,
            "generation_tokens": 20,
            "spec_accepted_tokens": 6,
        },
        ["queue_time", "inference_time", "server_tpot", "server_e2el"],
    ),
    "TensorRT-LLM": (
        "trtllm_num_requests_running 2\ntrtllm_num_requests_waiting 0\n"
        "trtllm_kv_cache_utilization 0.25\ntrtllm_prompt_tokens_total 40\n"
        "trtllm_prompt_cached_tokens_total 16\ntrtllm_generation_tokens_total 12\n"
        'trtllm_request_success_total{finished_reason="stop"} 4\n'
        "trtllm_spec_decode_num_draft_tokens_total 6\n"
        "trtllm_spec_decode_num_accepted_tokens_total 5\n"
        + "".join(
            f"trtllm_{name}_seconds_sum 1\ntrtllm_{name}_seconds_count 2\n"
            for name in (
                *("request_queue_time", "request_prefill_time", "request_decode_time"),
                *("request_inference_time", "time_to_first_token", "time_per_output_token"),
                "e2e_request_latency",
            )
        ),
        {
            "running": 2,
            "waiting": 0,
            "kv_cache_usage": 0.25,
            "prompt_tokens": 40,
            "cached_prompt_tokens": 16,
            "generation_tokens": 12,
            "requests_finished": 4,
            "spec_draft_tokens": 6,
            "spec_accepted_tokens": 5,
        },
        [
            *("queue_time", "prefill_time", "decode_time", "inference_time", "server_ttft"),
            *("server_tpot", "server_e2el"),
        ],
    ),
    "Triton": (
        'nv_trt_llm_request_metrics{model="m",request_type="active",version="1"} 6\n'
        'nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 2\n'
        'nv_trt_llm_request_metrics{model="m",request_type="max",version="1"} 64\n'
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="m"} 30\n'
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="m"} 120\n'
        'nv_gpu_power_usage{gpu_uuid="GPU-a"} 300\nnv_energy_consumption{gpu_uuid="GPU-a"} 77\n'
        'nv_gpu_utilization{gpu_uuid="GPU-a"} 0.5\nnv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 8\n',
        {
            "running": 6,
            "waiting": 2,
            "kv_cache_usage": 0.25,
            "gpus": 1,
            "gpu_power": 300,
            "gpu_energy": 77,
            "gpu_utilization": 0.5,
            "gpu_memory": 8,
        },
        [],
    ),
    "llama.cpp": (
        "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"
        "llamacpp:prompt_tokens_total 5\nllamacpp:prompt_tokens_cached_total 3\n"
        "llamacpp:tokens_predicted_total 9\nllamacpp:spec_decode_num_drafts_total 4\n"
        "llamacpp:spec_decode_num_draft_tokens_total 8\n"
        "llamacpp:spec_decode_num_accepted_tokens_total 6\nllamacpp:prompt_tokens_seconds 70\n",
        {
            "running": 1,
            "waiting": 2,
            "prefix_cache_queries": 8,
            "prefix_cache_hits": 3,
            "cached_prompt_tokens": 3,
            "prompt_tokens": 8,
            "generation_tokens": 9,
            "spec_drafts": 4,
            "spec_draft_tokens": 8,
            "spec_accepted_tokens": 6,
        },
        [],
    ),
    "a server that lies": (
        "vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n"
        "vllm:prompt_tokens_total -Inf\nvllm:kv_cache_usage_perc 0.5\n",
        {"kv_cache_usage": 0.5},
        [],
    ),
}


@pytest.mark.parametrize("server", PAGES)
def test_each_servers_names_become_ours(server):
    text, values, histograms = PAGES[server]
    found = parse(text, 0)
    assert found.values == pytest.approx(values)
    assert list(found.histograms) == histograms


def test_the_text_of_a_real_vllm_is_understood():
    values = parse(REAL, 0).values
    assert {"running", "waiting"} <= set(values)


@pytest.mark.parametrize("text", ["<html><body>hi</body></html>", "{not metrics", 'x{a="b 1\n'])
def test_what_is_no_metrics_text_is_refused(text):
    with pytest.raises(NotMetricsError):
        parse(text, 0)


@given(st.text(max_size=200))
def test_any_text_gives_a_reading_or_the_one_error(text):
    with contextlib.suppress(NotMetricsError):
        parse(text, 0)


def test_differences_means_and_maxima_over_a_run():
    before = parse(
        "vllm:num_requests_running 1\nvllm:num_preemptions_total 2\n"
        + histogram_text("vllm:request_queue_time_seconds", {"0.3": 1, "0.5": 0, "+Inf": 0}, 0.1),
        10,
    )
    after = parse(
        "vllm:num_requests_running 5\nvllm:num_preemptions_total 7\n"
        + histogram_text("vllm:request_queue_time_seconds", {"0.3": 3, "0.5": 2, "+Inf": 0}, 1.1),
        14,
    )
    figures = figures_of([before, after], [50, 100])
    assert figures["seconds"] == 4
    assert figures["counters"] == {"preemptions": 5}
    assert figures["gauges"]["running"] == {"mean": 3, "max": 5}
    queue = figures["latencies"]["queue_time"]  # four observations that sum up to 1.0 s
    assert (queue["count"], queue["mean"]) == (4, 0.25)
    # two of them below 0.3 s, so the median is at the end of that bucket
    assert queue["percentiles"]["50"] == {"value": 0.3, "at_least": 0.0, "at_most": 0.3}
    assert queue["percentiles"]["100"] == {"value": 0.5, "at_least": 0.3, "at_most": 0.5}


def test_a_counter_that_fell_means_a_restart_and_no_differences():
    figures = figures_of([Reading(0, {"preemptions": 5}), Reading(1, {"preemptions": 1})], [50])
    assert figures["restarted"]
    assert figures["counters"] == {}


def test_one_reading_is_no_run():
    assert figures_of([Reading(0)], [50]) is None


@given(
    st.lists(st.tuples(st.floats(0.001, 10), st.integers(0, 50)), min_size=1, max_size=8),
    st.floats(0, 100),
)
def test_a_percentile_lies_in_its_bucket_and_never_falls(buckets, p):
    buckets = dict(buckets)
    bounds, counts, total = sorted(buckets), [], 0
    for bound in bounds:
        total += buckets[bound]
        counts.append(total)
    histogram = Histogram(1.0, total, (*bounds, math.inf), (*counts, total))
    found = percentile_of(histogram, p)
    if total == 0:
        assert found is None
        return
    assert found["at_least"] <= found["value"] * (1 + 1e-12)
    assert found["value"] <= found["at_most"] * (1 + 1e-12)
    assert found["value"] <= percentile_of(histogram, 100)["value"] * (1 + 1e-12)


def test_nothing_before_means_that_all_was_observed_in_the_run():
    after = Histogram(1.0, 2, (1.0, math.inf), (2, 2))
    assert between(None, after) is after


def test_replicas_add_up_and_their_means_are_weighted():
    def replica(n, mean, running):
        return {
            "seconds": 5.0,
            "readings": 6,
            "restarted": False,
            "counters": {"prompt_tokens": 10.0 * n},
            "gauges": {
                "running": {"mean": running, "max": running},
                "kv_cache_usage": {"mean": 0.1 * n, "max": 0.2 * n},
            },
            "latencies": {"queue_time": {"count": n, "mean": mean, "percentiles": {}}},
        }

    both = summed([replica(1, 0.4, 2), replica(3, 0.8, 5)])
    assert both["counters"] == {"prompt_tokens": 40}
    assert both["gauges"]["running"] == {"mean": 7, "max": 7}
    assert both["gauges"]["kv_cache_usage"] == pytest.approx({"mean": 0.2, "max": 0.6})
    assert both["latencies"]["queue_time"]["mean"] == pytest.approx(0.7)


def figures(**changes):
    return {
        "seconds": 5.0,
        "readings": 6,
        "restarted": False,
        "counters": {},
        "gauges": {},
        "latencies": {},
    } | changes


def latency(mean):
    return {"count": 10, "mean": mean, "percentiles": {}}


def test_the_ttft_is_split_into_queue_prefill_and_the_rest():
    server = figures(latencies={"queue_time": latency(0.640), "prefill_time": latency(0.118)})
    readings = [Reading(0, {"kv_cache_usage": 0.5}), Reading(40, {"kv_cache_usage": 0.97})]
    server["counters"] = {
        "preemptions": 31,
        "prefix_cache_queries": 100.0,
        "prefix_cache_hits": 62.0,
    }
    assert sentences(0.812, server, readings) == [
        "TTFT 812 ms = 640 queue + 118 prefill + 54 network and front end",
        "KV cache first above 95% at 40 s, 31 preemptions",
        "Prefix cache served 62% of prompt tokens",
    ]


def test_a_page_that_ends_before_the_run_is_said_and_splits_nothing():
    def page(last_s, before=0.0):
        sums = {"queue_time": 0.01, "prefill_time": 0.04}
        of_run = {name: Histogram(10 * s, 10.0) for name, s in sums.items()}
        first = Reading(0.0, {"running": 0.0, "preemptions": before})
        return [first, Reading(last_s, {"running": 1.0, "preemptions": 0.0}, of_run)]

    def said(last_s, **others):
        server = {"u": page(last_s), **others}
        block = run_figures(columns(row()), duration_s=100.0, server=server)
        return block.block["server"]["attribution"]

    assert said(99.0) == ["TTFT 100 ms = 10 queue + 40 prefill + 50 network and front end"]
    assert said(60.0) == [
        "These figures leave out the last 40 s: a page could not be read any more"
    ]
    assert said(99.0, other=page(99.0, before=5.0)) == []  # restarted: its histograms are unknown


def test_nothing_is_said_that_the_figures_do_not_support():
    assert sentences(0.8, figures(), [Reading(0), Reading(1)]) == []
    other = figures(latencies={"queue_time": latency(2.0), "prefill_time": latency(0.1)})
    assert ttft_parts(0.8, other) is None  # the server queued others, not ours


def test_the_ttft_of_retried_requests_is_not_split():
    def parts(resumed=None, **more):
        times = {"queue_time": Histogram(0.2, 2.0), "prefill_time": Histogram(0.1, 2.0)}
        readings = [Reading(0.0), Reading(9.0, {"requests_finished": 2.0}, times)]
        rows = columns(row(0), row(1, ttft=0.9, **more))
        found = run_figures(rows, server={"u": readings}, resumed=resumed)
        return found.block["server"]["ttft_parts_s"], found.block["server"]["attribution"]

    assert parts()[0]["network_and_front_end"] == pytest.approx(0.5 - 0.15)
    # Its 0.9 s are a failed attempt, a pause, and the time of the second attempt.
    assert parts(retried='[{"error_kind": "timeout"}]') == (None, [])
    assert parts(resumed={"requests": 1}) == (None, [])  # no reading is of the first part


def test_the_docs_have_every_name():
    page = (Path(__file__).parents[2] / "docs" / "server-metrics.md").read_text()
    for metric in SERVER_METRICS:
        assert f"| `{metric.name}` |" in page
        for source in metric.sources:
            name = source.partition("{")[0]
            shown = re.sub(r"\b(vllm:|sglang:|trtllm_|tgi_|llamacpp:)", "", source)
            assert f"`{shown}`" in page or f"`{name}`" in page, source
