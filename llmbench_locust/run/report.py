"""From all outcomes to what the user gets: the table on the console, the files that were asked for,
what the web page shows.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmbench_locust.metrics.audit import AuditInputs, Connections, verdict
from llmbench_locust.metrics.extended import extended
from llmbench_locust.metrics.store import Folded
from llmbench_locust.metrics.vllm import Summary, summarize
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.console import render_console
from llmbench_locust.results.document import build_document, ramp_changes
from llmbench_locust.results.files import not_taken, result_path, write_result, write_whole
from llmbench_locust.results.requests_table import table_csv, table_parquet
from llmbench_locust.terminal import say, warn
from llmbench_locust.workload.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llmbench_locust.run.benchmark import Benchmark


@dataclass(slots=True)
class Report:
    """One finished run. ``origin_s``: start of the arrivals, seconds of perf_counter."""

    config: RunConfig
    columns: RecordColumns
    summary: Summary
    document: dict[str, Any]
    origin_s: float
    started_at: datetime
    has_tokenizer: bool
    spec_decode: dict[str, Any] | None = None
    probes: dict[str, Any] | None = None
    folded: Folded | None = None

    @property
    def extended(self) -> dict[str, Any]:
        block: dict[str, Any] = self.document["llmbench"]
        return block

    @property
    def audit(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.extended["audit"]
        return found

    def console(self) -> str:
        return render_console(
            self.config,
            self.summary,
            has_tokenizer=self.has_tokenizer,
            spec_decode=self.spec_decode,
            probes=self.probes,
            extended=self.extended,
        )

    def report_html(self) -> str:
        from llmbench_locust.results.html import report_html

        config, folded = self.config.redacted(), self._folded_rows()
        return report_html(config, self.columns, self.summary, self.document, self.origin_s, folded)

    def table_csv(self) -> bytes:
        return table_csv(self.columns, self.summary, self.origin_s)

    def table_parquet(self) -> bytes:
        return table_parquet(self.columns, self.summary, self.origin_s)

    def publish(self) -> bool:
        """Print the table and write the files that were asked for.

        Returns whether all were written to their places. A file that cannot be written goes to the
        temporary directory instead, and a line says so.
        """
        say(self.console())
        config, path = self.config, result_path(self.config, self.started_at)
        if not config.append_result:
            path = not_taken(path)
        wanted: list[tuple[Path, Callable[[Path], None]]] = []
        if config.save_result or config.append_result:
            wanted.append((path, self._write_result))
        if config.per_request:
            table = Path(config.per_request)
            make = self.table_parquet if table.suffix == ".parquet" else self.table_csv
            wanted.append((table, lambda to: write_whole(to, make())))
        if config.llm_html:
            page = Path(config.llm_html)
            wanted.append((page, lambda to: write_whole(to, self.report_html().encode("utf-8"))))
        if config.plot_timeline:
            timeline = path.with_suffix(".timeline.html")
            wanted.append((timeline, lambda to: write_whole(to, self._timeline())))
        if config.plot_dataset_stats:
            stats = path.with_suffix(".dataset_stats.html")
            wanted.append((stats, lambda to: write_whole(to, self._dataset_stats())))
        written = [_write(target, write) for target, write in wanted]
        return all(written)

    def _write_result(self, path: Path) -> None:
        config = self.config
        detailed, append = config.save_detailed, config.append_result
        write_result(
            self.document, path, detailed=detailed, append=append, arguments=config.redacted()
        )

    def _timeline(self) -> bytes:
        from llmbench_locust.results.html import timeline_html

        thresholds_ms = self.config.timeline_itl_thresholds
        return timeline_html(
            self.columns, self.origin_s, thresholds_ms, self.summary, self._folded_rows()
        ).encode("utf-8")

    def _folded_rows(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        return None if self.folded is None else self.folded.mask(self.columns)

    def _dataset_stats(self) -> bytes:
        from llmbench_locust.results.html import dataset_stats_html

        return dataset_stats_html(self.columns, self.summary).encode("utf-8")


def _write(path: Path, write: Callable[[Path], None]) -> bool:
    try:
        write(path)
    except (OSError, ImportError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        warn(f"error: {path} could not be written: {reason}")
        if isinstance(e, OSError):
            _rescue(path, write)
        return False
    say(f"Wrote {path}")
    return True


def _rescue(path: Path, write: Callable[[Path], None]) -> None:
    """A result is not lost because its disk is full: write it to the temporary directory."""
    rescue = not_taken(Path(tempfile.gettempdir()) / path.name)
    try:
        write(rescue)
    except OSError as e:
        warn(f"error: {rescue} could not be written either: {e.strerror}")
    else:
        warn(f"Wrote {rescue} instead")


def make_report(benchmark: Benchmark, columns: RecordColumns) -> Report:
    """The report of a run with a plan."""
    config, coordinator = benchmark.config, benchmark.coordinator
    assert coordinator is not None
    burst = (
        config.request_rate == float("inf")
        and config.ramp_up_strategy is None
        and not config.self_timed
    )
    audit = verdict(
        AuditInputs(
            benchmark.audit.send_lag_s,
            benchmark.audit.loop_lag_s,
            benchmark.audit.cpu(),
            cores=benchmark.audit.cores,
            overflow=int(benchmark.audit.total("overflow")),
            resent=int(benchmark.audit.total("resent")),
            connections=Connections(
                int(benchmark.audit.total("most_connections")),
                int(benchmark.audit.total("most_in_use")),
                benchmark.audit.total("idle_excess_s"),
            ),
            starved_s=benchmark.audit.starved_s,
            shared_chunks=int(benchmark.audit.total("shared_chunks")),
            token_events=int(benchmark.audit.total("token_events")),
            kernel_times=benchmark.audit.kernel_times,
            workers_lost=coordinator.workers_lost,
            clock_error_s=max((w.clock.error_s for w in coordinator.workers.values()), default=0.0),
            burst=burst,
        )
    )
    workers = [
        {
            "id": w.id,
            "host": w.host,
            "pid": w.pid,
            "lost": w.lost,
            "connections": w.prewarmed,
            "clock_offset_s": w.clock.offset_s,
            "clock_error_s": w.clock.error_s,
        }
        for w in coordinator.workers.values()
    ]
    changes = None
    if config.ramp_up_strategy is not None:
        from llmbench_locust.run.schedule import ramp_of

        heads = sorted(coordinator.plan.tickets, key=lambda t: t.due_s)
        ramp = ramp_of(config)
        assert ramp is not None
        changes = ramp_changes(
            config, ramp.rates(len(heads)), np.array([t.due_s for t in heads]), benchmark.started_at
        )
    return _report(
        config,
        columns,
        benchmark.start_s,
        started_at=benchmark.started_at,
        tokenizer=benchmark.tokenizer,
        spec_decode=benchmark.spec_decode,
        probes=benchmark.probe_figures(),
        changes=changes,
        audit=audit,
        interrupted=benchmark.interrupted,
        unsent=coordinator.ledger.never_count,
        workers=workers,
        folded=benchmark.store.folded,
    )


def make_closed_report(
    config: RunConfig,
    columns: RecordColumns,
    origin_s: float,
    started_at: datetime,
    folded: Folded | None,
) -> Report:
    """The report of a closed loop: its duration ends with the last answer."""
    return _report(config, columns, origin_s, started_at=started_at, tokenizer=None, folded=folded)


def _report(
    config: RunConfig,
    columns: RecordColumns,
    origin_s: float,
    *,
    started_at: datetime,
    tokenizer: Tokenizer | None,
    spec_decode: dict[str, Any] | None = None,
    probes: dict[str, Any] | None = None,
    changes: list[dict[str, Any]] | None = None,
    audit: dict[str, Any] | None = None,
    interrupted: bool = False,
    unsent: int = 0,
    workers: list[dict[str, Any]] | None = None,
    folded: Folded | None = None,
) -> Report:
    ends = columns.floats["end_time"]
    duration = (
        float(np.nanmax(ends) - origin_s) if len(columns) and not np.all(np.isnan(ends)) else 0.0
    )
    summary = summarize(
        columns,
        duration_s=max(duration, 0.0),
        percentiles=config.metric_percentiles,
        goodput_ms=config.goodput,
        kind=config.backend_info.kind,
        counted=count_texts(columns, tokenizer),
        folded=folded,
    )
    block = extended(
        columns,
        summary,
        percentiles=config.metric_percentiles,
        goodput_ms=config.goodput,
        audit=audit,
        interrupted=interrupted,
        unsent=unsent,
        workers=workers or [],
        folded=folded,
        environment=environment_of(),
    )
    document = build_document(
        config,
        columns,
        summary,
        started_at=started_at,
        tokenizer_id=None if config.skip_tokenizer_init else config.tokenizer or config.model,
        spec_decode=spec_decode,
        probes=probes,
        rps_changes=changes,
        extended=block,
        folded=folded,
        detailed=config.save_detailed,
    )
    return Report(
        config,
        columns,
        summary,
        document,
        origin_s,
        started_at,
        not config.skip_tokenizer_init,
        spec_decode,
        probes,
        folded,
    )


def count_texts(
    columns: RecordColumns, tokenizer: Tokenizer | None
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """The tokenizer's count of each answer whose length the server did not tell, without special
    tokens; -1 elsewhere.
    """
    if tokenizer is None:
        return None
    rows = np.flatnonzero(columns.success & (columns.ints["output_len"] <= 0)).tolist()
    counted = np.full(len(columns), -1, np.int64)
    if rows:
        for row, ids in zip(
            rows, tokenizer.encode_batch([columns.texts["text"][r] for r in rows]), strict=True
        ):
            counted[row] = len(ids)
    return counted


def environment_of() -> dict[str, Any]:
    """What the client ran on."""
    from importlib.metadata import version

    names = ("locust", "gevent", "geventhttpclient", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in names},
    }
