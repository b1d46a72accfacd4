"""The result's keys, order and types beyond what the gold files show."""

import numpy as np
import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.checks import METRICS, metadata
from llmbench_locust.results.document import build_document, ramp_changes
from tests.metrics.rows import columns, failed, row

from .runs import WHEN, config, figures, run

PER_REQUEST = {
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "start_times",
    "generated_texts",
    "errors",
}


def test_without_save_detailed_the_same_keys_less_the_arrays():
    *_, detailed = run()
    *_, brief = run(detailed=False)
    assert set(detailed) >= PER_REQUEST
    assert list(brief) == [k for k in detailed if k not in PER_REQUEST]
    assert "--save-detailed" in detailed["llmbench"].pop("command")
    assert "--save-detailed" not in brief["llmbench"].pop("command")
    assert brief == {k: v for k, v in detailed.items() if k not in PER_REQUEST}


def test_a_reader_tells_failed_requests_by_their_error():
    *_, document = run(
        row(0, error="a note on a success"),
        failed(1, error=""),
        failed(2, error="", kind=""),
        failed(3, error="said the server: Bearer abcdefghijkl"),
    )
    assert document["errors"] == ["", "http_500", "failed", "said the server: Bearer ***"]
    assert (document["ttfts"][1], document["latencies"][1], document["output_lens"][1]) == (
        0.0,
        0.0,
        0,
    )
    assert [type(v) for v in document["ttfts"] + document["queue_times"]] == [float] * 8


def test_the_number_of_prompts_is_that_of_the_requests_where_sessions_or_users_decide():
    def number(*records, unsent=0, **flags):
        done = figures(columns(*records), given=config(**flags), unsent=unsent)
        return build_document(done)["num_prompts"]

    assert number(row(0), row(1), unsent=1) == 3  # as asked for
    assert number(row(0), failed(1), unsent=2, num_sessions=2, num_prompts=1000) == 4
    assert number(row(0), row(1), num_prompts=-1) == 2
    assert number(row(0, due_time=np.nan), num_prompts=1000) == 1


def test_poolings_keys():
    given = config(percentile_metrics=("e2el",), metric_percentiles=(50.0, 99.5))
    answer = {"token_times": np.empty(0), "output_len": 0, "num_sequences": 3, "input_tokens": 12}
    *_, document = run(row(0, **answer), row(1, **answer), failed(2), kind="pooling", given=given)
    keys = [
        "date",
        "endpoint_type",
        "backend",
        "label",
        "model_id",
        "tokenizer_id",
        "num_prompts",
        "request_rate",
        "burstiness",
        "max_concurrency",
        "duration",
        "completed",
        "total_input_tokens",
        "total_input_sequences",
        "request_throughput",
        "input_sequence_throughput",
        "total_token_throughput",
        "input_lens",
        "latencies",
        "queue_times",
        "errors",
        "mean_e2el_ms",
        "median_e2el_ms",
        "std_e2el_ms",
        "p50_e2el_ms",
        "p99.5_e2el_ms",
        "llmbench",
    ]
    assert list(document) == keys
    assert (document["total_input_sequences"], document["input_sequence_throughput"]) == (6, 3.0)
    assert document["input_lens"] == [12, 12, 10]
    assert document["llmbench"]["failed"] == 1


def test_metadata_comes_before_the_traffic_and_cannot_change_a_figure():
    given = config(metadata={"tp": "2", "completed": "all", "burstiness": "7"})
    *_, document = run(given=given)
    keys = list(document)
    assert keys.index("num_prompts") < keys.index("tp") < keys.index("request_rate")
    assert (document["tp"], document["completed"], document["burstiness"]) == ("2", 2, 1.0)


def test_the_queue_of_the_client_needs_a_cap_and_a_rate():
    names = ("client_queue_time", "e2el_including_client_queue")

    def keys(**more):
        *_, document = run(given=config(percentile_metrics=("e2el", *names), **more))
        return [name for name in names if f"mean_{name}_ms" in document]

    assert keys() == []
    assert keys(max_concurrency=2, request_rate=float("inf")) == ["client_queue_time"]
    assert keys(max_concurrency=2) == list(names)


def test_gaps_that_were_folded_are_not_made_up():
    store = RecordStore(max_exact_tokens=4)
    store.add(columns(row(0, gaps=(0.1, 0.2))))
    store.add(columns(row(1, gaps=(0.3, 0.4))))
    assert store.folded is not None
    cols = store.columns()
    document = build_document(figures(cols, duration_s=1.0, folded=store.folded))
    assert document["itls"] == [pytest.approx([0.1, 0.2]), []]
    assert document["mean_itl_ms"] == pytest.approx(250)


def test_moments_of_a_ramp():
    given = config(ramp_up_strategy="linear", ramp_up_start_rps=2.0, ramp_up_end_rps=6.0)
    changes = ramp_changes(
        given, np.array([2.0, 2.5, 4.2, 6.0]), np.array([0.0, 0.5, 1.0, 2.0]), WHEN
    )
    assert [c["rps"] for c in changes] == [2, 3, 4, 5, 6]
    assert [c["timestamp"][17:] for c in changes] == ["01", "02", "02", "03", "03"]


def test_a_steep_ramp_has_few_moments():
    """From 1 to a billion in four requests: it filled 20 GB."""
    given = config(ramp_up_strategy="exponential", ramp_up_start_rps=1.0, ramp_up_end_rps=1e9)
    changes = ramp_changes(given, np.array([1.0, 1e3, 1e6, 1e9]), np.arange(4.0), WHEN)
    assert len(changes) == 1 + 999 + 2 * 1000
    assert changes[-1]["rps"] == 10**9


@pytest.mark.parametrize("kind", ["generation", "pooling"])
def test_metadata_overrides_no_key(kind):
    given = config(
        percentile_metrics=METRICS, metric_percentiles=(50.0, 99.9), goodput={"e2el": 1.0},
        max_concurrency=2, ramp_up_strategy="linear", ramp_up_start_rps=1, ramp_up_end_rps=2,
    )  # fmt: skip
    *_, document = run(kind=kind, given=given)
    for key in [*document, "rps_change_events", "probe_completed", "spec_decode_num_drafts"]:
        if key in ("request_rate", "burstiness", "max_concurrency", "num_prompts"):
            assert metadata((f"{key}=1",)) == {}  # scripts give these; the run's own stand
            continue
        with pytest.raises(ConfigError, match=f"--metadata: '{key}' is a key of the result file"):
            metadata((f"{key}=1",))
    assert metadata(("tensor_parallel_size=2",)) == {"tensor_parallel_size": "2"}
