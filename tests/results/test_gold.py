"""vLLM's own result files: recomputed from its per-request arrays, every summary number, every key,
every line of its table.
"""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.results.console import render_console
from llmbench_locust.results.document import build_document
from llmbench_locust.results.files import result_path
from tests.results.runs import config, figures

DATA = Path(__file__).parent.parent / "data/results"
NAMES = ("openai-rate", "openai-chat-concurrency", "ramp-up")


def load(name):
    return json.loads((DATA / f"{name}.json").read_text())


def columns_of(gold):
    records = []
    for i, (start, ttft, itl) in enumerate(
        zip(gold["start_times"], gold["ttfts"], gold["itls"], strict=True)
    ):
        times = np.cumsum([start + ttft, *itl])
        records.append(
            RequestRecord(
                i,
                success=not gold["errors"][i],
                prompt_len=gold["input_lens"][i],
                output_len=gold["output_lens"][i],
                start_time=start,
                end_time=times[-1],
                token_times=times,
                text=gold["generated_texts"][i],
                client_queue_time=gold["queue_times"][i],
            )
        )
    return RecordColumns.from_records(records)


def config_of(gold):
    shown = [m for m in ("ttft", "tpot", "itl", "e2el") if f"mean_{m}_ms" in gold]
    words = [
        k[1:].removesuffix("_ttft_ms") for k in gold if k.startswith("p") and k.endswith("_ttft_ms")
    ]
    goodput = {"ttft": 40.0, "tpot": 12.0} if gold["request_goodput"] is not None else {}
    return config(
        backend=gold["backend"],
        label=gold["label"],
        model=gold["model_id"],
        num_prompts=gold["num_prompts"],
        metadata={k: gold[k] for k in ("run", "tp") if k in gold},
        request_rate=float(gold["request_rate"]),
        burstiness=gold["burstiness"],
        max_concurrency=gold["max_concurrency"],
        ramp_up_strategy=gold.get("ramp_up_strategy"),
        ramp_up_start_rps=gold.get("ramp_up_start_rps"),
        ramp_up_end_rps=gold.get("ramp_up_end_rps"),
        percentile_metrics=tuple(shown),
        metric_percentiles=tuple(float(w) for w in words),
        goodput=goodput,
        tokenizer=gold["tokenizer_id"],
    )


def document_of(gold):
    done = figures(
        columns_of(gold),
        given=config_of(gold),
        duration_s=gold["duration"],
        started_at=datetime.strptime(gold["date"], "%Y%m%d-%H%M%S"),
        rps_changes=gold.get("rps_change_events"),
    )
    # What is ours stands neither in vLLM's file nor in its table.
    done = replace(done, block={})
    return done, build_document(done)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_vllms(name):
    gold = load(name)
    _, document = document_of(gold)
    skipped = {"request_goodput"}
    for key, value in gold.items():
        if isinstance(value, float) and key not in skipped:
            assert document[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key
        elif not isinstance(value, list) and key not in skipped:
            assert document[key] == value, key
            assert type(document[key]) is type(value), key


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_are_vllms_in_vllms_order_and_one_more(name):
    gold = load(name)
    _, document = document_of(gold)
    assert list(document) == [*gold, "llmbench"]
    for key in (
        "ttfts",
        "latencies",
        "input_lens",
        "output_lens",
        "errors",
        "queue_times",
        "start_times",
    ):
        assert document[key] == (pytest.approx(gold[key]) if key != "errors" else gold[key])
    for ours, theirs in zip(document["itls"], gold["itls"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_vllms_line_for_line(name):
    gold = load(name)
    done, _ = document_of(gold)
    printed = (DATA / f"{name}.txt").read_text().splitlines()
    begin = next(i for i, line in enumerate(printed) if "Serving Benchmark Result" in line)
    wanted = [line.rstrip() for line in printed[begin:]]
    ours = [line.rstrip() for line in render_console(done).splitlines()]
    goodput = "Request goodput"
    assert [x for x in ours if not x.startswith(goodput)] == [
        x for x in wanted if not x.startswith(goodput)
    ]
    assert len(ours) == len(wanted)


def test_file_names():
    when = datetime(2026, 11, 24, 3, 42, 1)
    config = config_of(load("openai-rate"))
    assert str(result_path(config, when)) == "openai-8.0qps-tiny-20261124-034201.json"
    config = replace(config_of(load("openai-chat-concurrency")), model="org/name")
    assert (
        str(result_path(config, when))
        == "openai-chat-infqps-concurrency4-name-20261124-034201.json"
    )
    config = replace(config_of(load("ramp-up")), result_dir="out")
    assert (
        str(result_path(config, when))
        == "out/ramp-ramp-up-linear-2qps-12qps-tiny-20261124-034201.json"
    )
