"""Turns the outcomes of a run into console table, files and web page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.extended import derive
from llmbench_locust.metrics.facts import Figures, RunFacts, duration_of
from llmbench_locust.metrics.latencies import input_lengths, output_lengths
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.console import render_console
from llmbench_locust.results.document import build_document, ramp_changes
from llmbench_locust.results.files import not_taken, result_path, write_result, write_whole
from llmbench_locust.results.requests_table import table_csv, table_parquet
from llmbench_locust.results.shown import Shown
from llmbench_locust.run.audit_log import workers_of
from llmbench_locust.run.environment import environment_of
from llmbench_locust.run.schedule import ramp_of
from llmbench_locust.terminal import say, warn
from llmbench_locust.workload.sharing import Sharing
from llmbench_locust.workload.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llmbench_locust.dispatch.coordinator import Coordinator
    from llmbench_locust.run.benchmark import Benchmark


@dataclass(frozen=True, slots=True)
class Report:
    """One finished run: its figures and the result document made from them. ``settle()``: called
    when all requested files are written, so that the journal can go.
    """

    figures: Figures
    document: Json
    settle: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, facts: RunFacts) -> Report:
        figures = derive(facts)
        return cls(figures, build_document(figures))

    @property
    def config(self) -> RunConfig:
        return self.figures.facts.config

    @property
    def summary(self) -> Summary:
        return self.figures.summary

    @property
    def extended(self) -> Json:
        return self.figures.block

    @property
    def audit(self) -> Json | None:
        found: Json | None = self.extended["audit"]
        return found

    def console(self) -> str:
        return render_console(self.figures)

    def report_html(self) -> str:
        from llmbench_locust.results.html import report_html

        return report_html(Shown.of(self.figures, self.document))

    def table_csv(self) -> bytes:
        return table_csv(self.figures)

    def table_parquet(self) -> bytes:
        return table_parquet(self.figures)

    def publish(self) -> bool:
        """Print the table and write the requested files.

        Returns whether all were written to their paths. A file that cannot be written goes to the
        temporary directory instead, and a line says so.
        """
        say(self.console())
        config, path = self.config, result_path(self.config, self.figures.facts.started_at)
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
            wanted.append((page, lambda to: write_whole(to, self._page())))
        if config.plot_timeline:
            timeline = path.with_suffix(".timeline.html")
            wanted.append((timeline, lambda to: write_whole(to, self._timeline())))
        if config.plot_dataset_stats:
            stats = path.with_suffix(".dataset_stats.html")
            wanted.append((stats, lambda to: write_whole(to, self._dataset_stats())))
        written = [_write(target, write) for target, write in wanted]
        if all(written):
            self.settle()
        return all(written)

    def _write_result(self, path: Path) -> None:
        config = self.config
        write_result(self.document, path, append=config.append_result, arguments=config.redacted())

    def _page(self) -> bytes:
        return self.report_html().encode("utf-8", "replace")  # a file name may be no Unicode

    def _timeline(self) -> bytes:
        from llmbench_locust.results.html import timeline_html

        return timeline_html(self.figures).encode("utf-8")

    def _dataset_stats(self) -> bytes:
        from llmbench_locust.results.html import dataset_stats_html

        return dataset_stats_html(self.figures).encode("utf-8")


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
    """Write a result to the temporary directory, for example because its disk is full."""
    rescue = not_taken(Path(tempfile.gettempdir()) / path.name)
    try:
        write(rescue)
    except OSError as e:
        warn(f"error: {rescue} could not be written either: {e.strerror}")
    else:
        warn(f"Wrote {rescue} instead")


def make_report(benchmark: Benchmark, columns: RecordColumns) -> Report:
    """The report of a finished run."""
    coordinator = benchmark.coordinator
    assert coordinator is not None
    never, tasks = coordinator.ledger.never_count, coordinator.plan.tasks
    facts = RunFacts(
        config=benchmark.config,
        columns=columns,
        origin_s=benchmark.origin_s,
        duration_s=duration_of(columns, benchmark.origin_s),
        resumed=None if benchmark.resumed is None else benchmark.resumed.figures(),
        started_at=benchmark.started_at,
        counted=count_texts(columns, benchmark.source.tokenizer),
        audit=benchmark.audit_inputs(),
        workers=workers_of(coordinator),
        interrupted=benchmark.interrupted,
        unsent=0 if tasks or benchmark.config.endless else never,
        cut_off=never if tasks else 0,
        folded=benchmark.store.folded,
        turns=benchmark.source.turns,
        spec_decode=benchmark.spec_decode,
        probes=None if benchmark.prober is None else benchmark.prober.figures(),
        rps_changes=_rps_changes(benchmark, coordinator),
        prompts=benchmark.source.prompts,
        environment=environment_of(),
        server=benchmark.server_readings,
        gpus=benchmark.gpu_readings,
        sharing=_sharing(benchmark, columns),
        cold_cache=benchmark.cold_cache,
        answers=benchmark.source.answers,
    )
    return Report.of(facts)


def _sharing(benchmark: Benchmark, columns: RecordColumns) -> Sharing | None:
    """What prompts share; prefixes are compared only if the server reports cache hits."""
    hits = any(
        reading.values.get("prefix_cache_hits")
        for readings in benchmark.server_readings.values()
        for reading in readings[-1:]
    ) or bool(np.any(columns.ints["cached_tokens"] > 0))
    config, cold = benchmark.config, benchmark.cold_cache
    rehearsed = config.ready_check_timeout_sec > 0 or config.num_warmups > 0
    rehearsed = rehearsed and not cold["emptied"] and cold["cache_bust"] == "none"
    lengths = zip(input_lengths(columns).tolist(), output_lengths(columns).tolist(), strict=True)
    sizes = dict(zip(columns.ints["index"].tolist(), lengths, strict=True))
    return benchmark.source.sharing(sizes, prefixes=hits, rehearsed=rehearsed)


def _rps_changes(benchmark: Benchmark, coordinator: Coordinator) -> list[Json] | None:
    ramp = ramp_of(benchmark.config)
    if ramp is None or coordinator.plan.tasks:
        return None
    due_s = benchmark.source.due_s
    return ramp_changes(benchmark.config, ramp.rates(len(due_s)), due_s, benchmark.started_at)


def count_texts(columns: RecordColumns, tokenizer: Tokenizer | None) -> NDArray[np.int64] | None:
    """The tokenizer's count of each response without a count from the server, else -1."""
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
