"""The journal of a run: its outcomes and statistics, written to disk once a second. A killed run is
reported from it, and a long run needs less memory, because written outcomes are dropped.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from datetime import datetime
from errno import ENOSPC
from itertools import islice
from pathlib import Path

import gevent
import msgpack

from llmbench_locust._version import __version__
from llmbench_locust.dispatch.coordinator import Coordinator
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.blocks import block, read_blocks
from llmbench_locust.results.files import not_taken, result_path
from llmbench_locust.run.audit_log import AuditLog, workers_of
from llmbench_locust.run.environment import environment_of
from llmbench_locust.run.server_watch import Readings, split
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.watch import ServerWatch, thin
from llmbench_locust.terminal import warn
from llmbench_locust.transport.gaps import Gaps

#: Version of the file format. Journals of other versions cannot be read.
FORMAT = 3
#: Seconds between two blocks, and the approximate time to make one.
EVERY_S, BLOCK_S = 1.0, 0.0008
#: A run that is expected to last longer writes a journal by default.
LONG_S = 60.0
#: Buffered parts after which a block is written early: more than arrive in a second, except when
#: the outcomes of a --resume journal are added.
MOST_PARTS = 500

Take = Callable[[RecordColumns], object]


def is_wanted(config: RunConfig, last_due_s: float) -> bool:
    """``last_due_s``: when the last request of the plan is due."""
    expected_s = max(last_due_s, config.duration_s or 0.0)
    if config.run_time_s is not None:
        expected_s = config.run_time_s if not expected_s else min(expected_s, config.run_time_s)
    return config.journal or (expected_s > LONG_S and not config.no_journal)


@dataclasses.dataclass(slots=True)
class Kept:
    """What a journal holds besides outcomes. ``audit``: None if it has no block. ``ended``: the run
    came to its own end.
    """

    audit: AuditInputs | None = None
    workers: list[Json] = dataclasses.field(default_factory=list)
    server: Readings = dataclasses.field(default_factory=dict)
    gpus: Readings = dataclasses.field(default_factory=dict)
    ended: bool = False

    def add(self, payload: bytes, take: Take) -> None:
        """Add a block; ``take`` gets its outcomes."""
        found = msgpack.unpackb(payload)
        if found["records"] is not None:
            take(RecordColumns.from_message(found["records"]))
        self.audit = AuditInputs.from_message(found["audit"]).after(self.audit)
        self.workers = found["workers"]
        self.ended = found.get("ended", False)
        for pages, new in ((self.server, found["server"]), (self.gpus, found["gpus"])):
            for url, readings in new.items():
                thin(pages.setdefault(url, []), map(Reading.of, readings))


class Journal:
    """Raises ConfigError if the file cannot be created."""

    def __init__(
        self, config: RunConfig, started_at: datetime, audit: AuditLog, watch: ServerWatch | None
    ) -> None:
        self.path = not_taken(result_path(config, started_at).with_suffix(".journal"))
        self._config, self._audit, self._watch = config, audit, watch
        self._parts: list[RecordColumns] = []
        self._unwritten: list[bytes] = []
        self._written = self._rows = 0
        self._read_s: dict[str, float] = {}
        self._writer: gevent.Greenlet | None = None
        self.whole = True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x+b", buffering=0)
        except OSError as e:
            what = "use --no-journal, or another --result-dir"
            raise ConfigError(f"--journal: {self.path}: {e.strerror}; {what}") from None

    def start(self, coordinator: Coordinator, head: Callable[[], Json], gaps: Gaps) -> None:
        """``head()`` describes the run, with its start."""
        self._coordinator, self._head = coordinator, head
        self._writer = gevent.spawn(self._write_on, gaps)

    def add(self, columns: RecordColumns) -> None:
        """Add outcomes, with times on the master's clock."""
        self._parts.append(columns)
        self._rows += len(columns)
        if len(self._parts) > MOST_PARTS:
            self._write()

    def close(self, take: Take, *, ended: bool) -> Kept:
        """Write what is left, then read everything back: ``take`` gets the outcomes. Deletes the
        file if there are none. ``ended``: not interrupted.
        """
        kept = Kept()
        if self._writer is not None:
            self._writer.kill()
            self._write(ended=ended)
            self._file.seek(0)
            try:
                for payload in islice(read_blocks(self._file, self._unread), 1, None):
                    kept.add(payload, take)
            except OSError as e:
                self._unread(0, e.strerror or "")
            for payload in self._unwritten[0 if self._written else 1 :]:
                kept.add(payload, take)
        self._file.close()
        if not self._rows:
            self.discard()
        return kept

    def _unread(self, size: int, why: str = "") -> None:
        self.whole = False
        warn(f"error: {self.path} could not be read: {why or f'its last {size} bytes are damaged'}")

    def discard(self) -> None:
        """Delete the file: the result has everything in it."""
        if self.whole:
            self.path.unlink(missing_ok=True)

    def _write_on(self, gaps: Gaps) -> None:
        while True:
            gevent.sleep(EVERY_S)
            gaps.wait(BLOCK_S)
            if self._write():
                try:
                    gevent.get_hub().threadpool.apply(os.fsync, (self._file.fileno(),))
                except OSError as e:
                    warn(f"error: {self.path} could not be written: {e.strerror}")

    def _write(self, *, ended: bool = False) -> bool:
        """Write a block; returns whether it worked. Unwritten data stays in memory for a retry."""
        tried = bool(self._unwritten)
        if not tried and not self._written:
            self._unwritten.append(msgpack.packb(self._head()))
        parts, self._parts = self._parts, []
        records = RecordColumns.concat(parts).to_message() if parts else None
        made = {"records": records, **self._news(), "ended": ended}
        self._unwritten.append(msgpack.packb(made))
        try:
            while self._unwritten:
                whole = block(self._unwritten[0])
                if self._file.write(whole) != len(whole):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
                self._written += len(whole)
                self._unwritten.pop(0)
        except OSError as e:
            self._file.seek(self._written)
            self._file.truncate()
            if not tried:
                warn(f"error: {self.path} could not be written: {e.strerror}")
        return not self._unwritten

    def _news(self) -> Json:
        """What is new since the last block, except outcomes."""
        audit = self._audit.inputs(self._config, self._coordinator)
        self._audit.forget_lags()
        fresh = self._watch.since(self._read_s) if self._watch is not None else {}
        self._read_s.update((url, found[-1].time_s) for url, found in fresh.items())
        server, gpus = (
            {
                url: [dataclasses.asdict(reading) for reading in found]
                for url, found in pages.items()
            }
            for pages in split(fresh, self._config)
        )
        workers = workers_of(self._coordinator)
        return {"audit": audit.to_message(), "workers": workers, "server": server, "gpus": gpus}


def head_of(config: RunConfig, started_at: datetime, more: Json) -> Json:
    """What `from_journal.report_of` needs to know from the start; no secrets."""
    return {
        "format": FORMAT,
        "package": __version__,
        "config": json.dumps(config.redacted()),  # has integers and texts that msgpack rejects
        "started_at": started_at.isoformat(),
        "environment": environment_of(),
        **more,
    }


def read_head(path: Path) -> Json:
    """The description of the run. Raises ConfigError."""
    head: Json = {}
    read_journal(path, lambda _: None, head, blocks=1)
    return head


def read_journal(path: Path, take: Take, head: Json, blocks: int | None = None) -> Kept:
    """Fill ``head``, pass the outcomes to ``take``, return the rest. Raises ConfigError."""
    kept = Kept()

    def left(size: int) -> None:
        if head:
            warn(f"{path}: the last {size} bytes are an incomplete block and are left out")

    try:
        with path.open("rb") as source:
            for place, found in enumerate(islice(read_blocks(source, left), blocks)):
                if place:
                    kept.add(found, take)
                else:
                    head.update(_checked(msgpack.unpackb(found), path))
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except (ValueError, TypeError, KeyError) as e:
        raise ConfigError(f"{path} is not a journal of llmbench-locust ({e!r})") from None
    if not head:
        raise ConfigError(f"{path} is not a journal of llmbench-locust, or it is empty")
    return kept


def _checked(head: Json, path: Path) -> Json:
    if (head["format"], head["package"]) != (FORMAT, __version__):
        raise ConfigError(
            f"{path} was written by llmbench-locust {head['package']} in journal format "
            f"{head['format']}, this is {__version__} with format {FORMAT}; use that version"
        )
    return head
