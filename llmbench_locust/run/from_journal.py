"""From the journal of a run to its report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgpack

from llmbench_locust._version import __version__
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import RunFacts, duration_of
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.derive import revived
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.blocks import read_blocks
from llmbench_locust.results.files import not_taken, write_result
from llmbench_locust.run.journal import FORMAT
from llmbench_locust.run.report import Report, count_texts
from llmbench_locust.terminal import say, warn
from llmbench_locust.workload.tokenizers import load_tokenizer


def report_of(path: Path) -> Report:
    """The report of what a journal holds. Raises ConfigError."""
    head, store = _read(path)
    config = revived(head["config"])
    columns = store.columns()
    untold = bool((columns.success & (columns.ints["output_len"] <= 0)).any())
    total = head["total"]
    facts = RunFacts(
        config=config,
        columns=columns,
        origin_s=head["start_s"],
        duration_s=duration_of(columns, head["start_s"]),
        started_at=datetime.fromisoformat(head["started_at"]),
        counted=count_texts(columns, load_tokenizer(config)) if untold else None,
        interrupted=total is None or len(columns) < total,
        unsent=0 if total is None else total - len(columns),
        folded=store.folded,
        prompts=head["prompts"],
        environment=head["environment"],
        cold_cache=head["cold_cache"],
    )
    return Report.of(facts)


def result_of(path: Path) -> Path:
    """Writes the result of what a journal holds, with all requests, beside it; returns where.
    Raises ConfigError.
    """
    report, to = report_of(path), not_taken(path.with_suffix(".json"))
    say(report.console())
    try:
        write_result(
            report.document, to, detailed=True, append=False, arguments=report.config.redacted()
        )
    except OSError as e:
        raise ConfigError(f"report: {to}: {e.strerror}") from None
    say(f"Wrote {to}")
    return to


def _read(path: Path) -> tuple[Json, RecordStore]:
    store, head = RecordStore(), None
    try:
        for found in read_blocks(path):
            if isinstance(found, int):
                if head is not None:
                    warn(f"{path}: the last {found} bytes are no whole block and are left out")
            elif head is None:
                head = _checked(msgpack.unpackb(found), path)
            else:
                store.add(RecordColumns.from_message(msgpack.unpackb(found)))
    except OSError as e:
        raise ConfigError(f"report: {path}: {e.strerror}") from None
    except (ValueError, TypeError, KeyError) as e:
        raise ConfigError(f"report: {path} is no journal of llmbench-locust ({e!r})") from None
    if head is None:
        raise ConfigError(f"report: {path} is no journal of llmbench-locust, or holds no outcome")
    return head, store


def _checked(head: Json, path: Path) -> Json:
    if (head["format"], head["package"]) != (FORMAT, __version__):
        raise ConfigError(
            f"report: {path} was written by llmbench-locust {head['package']}, this is "
            f"{__version__}; use that version"
        )
    return head
