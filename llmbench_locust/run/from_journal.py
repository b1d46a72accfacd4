"""Makes the report of a run from its journal."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts, duration_of
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.command import NAMES, command_of
from llmbench_locust.options.config import from_redacted
from llmbench_locust.results.files import not_taken, write_result
from llmbench_locust.run.journal import read_head, read_journal
from llmbench_locust.run.report import Report, count_texts
from llmbench_locust.server_metrics.watch import of_run
from llmbench_locust.terminal import say
from llmbench_locust.workload.tokenizers import load_tokenizer


def report_of(path: Path) -> Report:
    """The report of a journal. Raises ConfigError."""
    config = from_redacted(json.loads(read_head(path)["config"]))
    head: Json = {}
    store = RecordStore(max_exact_tokens=config.max_exact_tokens)
    kept = read_journal(path, store.add, head)
    if not len(store):
        raise ConfigError(f"{path} holds no outcome")
    columns = store.columns()
    untold = bool((columns.success & (columns.ints["output_len"] <= 0)).any())
    total, start_s = head["total"], head["start_s"]
    facts = RunFacts(
        config=config,
        columns=columns,
        origin_s=start_s,
        duration_s=duration_of(columns, start_s),
        started_at=datetime.fromisoformat(head["started_at"]),
        counted=count_texts(columns, load_tokenizer(config)) if untold else None,
        audit=kept.audit,
        workers=kept.workers,
        interrupted=not kept.ended and (total is None or len(columns) < total),
        unsent=0 if total is None else total - len(columns),
        folded=store.folded,
        prompts=head["prompts"],
        environment=head["environment"],
        cold_cache=head["cold_cache"],
        server={url: of_run(found, start_s) for url, found in kept.server.items()},
        gpus={url: of_run(found, start_s) for url, found in kept.gpus.items()},
    )
    return Report.of(facts)


def words_of(path: Path) -> list[str]:
    """The flags of the run as a command line. Raises ConfigError."""
    config = from_redacted(json.loads(read_head(path)["config"]))
    words = shlex.split(command_of(replace(config, save_detailed=False)))[2:]
    own = {f"--{short}": f"--{name}" for name, short in NAMES.items()}
    return [*(own.get(w, w) for w in words), "--request-id-prefix", config.request_id_prefix]


def result_of(path: Path) -> Path:
    """Write the result file of a journal, with all requests, beside it; returns its path.
    Raises ConfigError.
    """
    report, to = report_of(path), not_taken(path.with_suffix(".json"))
    say(report.console())
    try:
        write_result(report.document, to, append=False, arguments=report.config.redacted())
    except OSError as e:
        raise ConfigError(f"report: {to}: {e.strerror}") from None
    say(f"Wrote {to}")
    return to
