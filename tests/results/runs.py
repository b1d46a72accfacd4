"""Small runs to report on."""

from datetime import datetime
from types import SimpleNamespace

from llmbench_locust.metrics.extended import extended
from llmbench_locust.metrics.vllm import summarize
from llmbench_locust.results.document import build_document
from tests.metrics.rows import columns, failed, row

WHEN = datetime(2026, 11, 24, 3, 42, 1)


def config(**more):
    plain = {
        "backend": "openai",
        "label": None,
        "model": "org/tiny",
        "num_prompts": 3,
        "metadata": {},
        "request_rate": 2.0,
        "burstiness": 1.0,
        "max_concurrency": None,
        "ramp_up_strategy": None,
        "ramp_up_start_rps": None,
        "ramp_up_end_rps": None,
        "percentile_metrics": ("ttft", "tpot", "itl"),
        "metric_percentiles": (99.0,),
        "goodput": {},
        "result_dir": None,
        "result_filename": None,
    }
    return SimpleNamespace(**{"intervals": False, **plain, **more})


def run(*records, kind="generation", audit=None, detailed=True, given=None, **more):
    """(config, columns, summary, block, document)."""
    given = given or config()
    if not records:
        records = (row(0, 0.0, 0.1, (0.01, 0.02)), row(1, 0.5, 0.2, (0.05,)), failed(2, 0.6, 0.9))
    cols = columns(*records)
    summary = summarize(
        cols,
        duration_s=2.0,
        percentiles=given.metric_percentiles,
        goodput_ms=given.goodput or None,
        kind=kind,
        **more,
    )
    block = extended(
        cols,
        summary,
        percentiles=given.metric_percentiles,
        goodput_ms=given.goodput,
        audit=audit,
        folded=more.get("folded"),
    )
    document = build_document(
        given,
        cols,
        summary,
        started_at=WHEN,
        tokenizer_id="tok",
        extended=block,
        detailed=detailed,
        folded=more.get("folded"),
    )
    return given, cols, summary, block, document
