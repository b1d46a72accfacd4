"""Small runs to report on."""

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

from llmbench_locust.metrics.extended import derive
from llmbench_locust.metrics.facts import RunFacts
from llmbench_locust.options.config import build_config
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
        "save_detailed": True,
        "skip_tokenizer_init": False,
        "tokenizer": "tok",
        "timeline_itl_thresholds": (25.0, 50.0),
    }
    base = build_config(SimpleNamespace(host=None))
    return replace(base, **{**plain, **more})


def figures(cols, *, given=None, kind="generation", duration_s=2.0, **facts):
    """`derive` of ``cols``; ``facts``: more fields of `RunFacts`."""
    given = given or config()
    given = replace(given, backend_info=replace(given.backend_info, kind=kind))
    known = {"origin_s": 0.0, "started_at": WHEN, "duration_s": duration_s, **facts}
    return derive(RunFacts(config=given, columns=cols, **known))


def run(*records, **facts):
    """(config, columns, summary, block, document)."""
    done = finished(*records, **facts)
    return (*done_parts(done), build_document(done))


def done_parts(done):
    return done.facts.config, done.facts.columns, done.summary, done.block


def finished(*records, detailed=True, given=None, **facts):
    """`figures` of these records, or of three that are as good as any."""
    given = replace(given or config(), save_detailed=detailed)
    if not records:
        records = (row(0, 0.0, 0.1, (0.01, 0.02)), row(1, 0.5, 0.2, (0.05,)), failed(2, 0.6, 0.9))
    return figures(columns(*records), given=given, **facts)
