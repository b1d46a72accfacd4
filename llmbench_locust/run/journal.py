"""The journal of a run: its outcomes on the disk while it goes on, so that a run that was killed
has its report, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import gevent
import msgpack

from llmbench_locust._version import __version__
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.blocks import block, read_blocks
from llmbench_locust.results.files import not_taken, result_path
from llmbench_locust.terminal import warn
from llmbench_locust.transport.gaps import Gaps

#: Of the format. A journal of another one cannot be read.
FORMAT = 1
#: Seconds between two blocks, and what making one takes, about.
EVERY_S, BLOCK_S = 1.0, 0.0008
#: A run that is expected to last longer has a journal by itself.
LONG_S = 60.0


def is_wanted(config: RunConfig, last_due_s: float) -> bool:
    """``last_due_s``: when the last request of the plan is due."""
    expected_s = max(last_due_s, config.duration_s or 0.0)
    if config.run_time_s is not None:
        expected_s = config.run_time_s if not expected_s else min(expected_s, config.run_time_s)
    return config.journal or (expected_s > LONG_S and not config.no_journal)


class Journal:
    """``head()`` says what the run is, once the first outcome is there. Raises ConfigError where
    the file cannot be made.
    """

    def __init__(self, config: RunConfig, started_at: datetime, head: Callable[[], Json]) -> None:
        self.path = not_taken(result_path(config, started_at).with_suffix(".journal"))
        self._head: Callable[[], Json] | None = head
        self._parts: list[RecordColumns] = []
        self._writer: gevent.Greenlet | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")
        except OSError as e:
            what = "use --no-journal, or another --result-dir"
            raise ConfigError(f"--journal: {self.path}: {e.strerror}; {what}") from None

    def start(self, gaps: Gaps) -> None:
        self._writer = gevent.spawn(self._run, gaps)

    def add(self, columns: RecordColumns) -> None:
        """More outcomes, on the master's clock."""
        self._parts.append(columns)

    def close(self) -> None:
        """Write what is left; nothing leaves no file."""
        if self._writer is not None:
            self._writer.kill()
            self._write()
        self._file.close()
        if self._head is not None:
            self.discard()

    def discard(self) -> None:
        """The result has all that is in it."""
        self.path.unlink(missing_ok=True)

    def _run(self, gaps: Gaps) -> None:
        while True:
            gevent.sleep(EVERY_S)
            gaps.wait(BLOCK_S)
            if self._write():
                gevent.get_hub().threadpool.apply(os.fsync, (self._file.fileno(),))

    def _write(self) -> bool:
        """Whether there was something to write."""
        parts, self._parts = self._parts, []
        if not parts:
            return False
        try:
            if self._head is not None:
                self._file.write(block(msgpack.packb(self._head() | {"format": FORMAT})))
                self._head = None
            self._file.write(block(msgpack.packb(RecordColumns.concat(parts).to_message())))
            self._file.flush()
        except OSError as e:
            warn(f"error: {self.path} could not be written: {e.strerror}")
            return False
        return True


def head_of(config: RunConfig, started_at: datetime, start_s: float, more: Json) -> Json:
    """What `from_journal.report_of` needs besides the outcomes; no secrets. ``more``: its keys that
    are not the configuration's.
    """
    return {
        "package": __version__,
        "config": config.redacted(),
        "started_at": started_at.isoformat(),
        "start_s": start_s,
        **more,
    }


def read_journal(path: Path) -> tuple[Json, RecordStore]:
    """(its head, its outcomes). Raises ConfigError."""
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
        raise ConfigError(f"{path}: {e.strerror}") from None
    except (ValueError, TypeError, KeyError) as e:
        raise ConfigError(f"{path} is no journal of llmbench-locust ({e!r})") from None
    if head is None:
        raise ConfigError(f"{path} is no journal of llmbench-locust, or holds no outcome")
    return head, store


def _checked(head: Json, path: Path) -> Json:
    if (head["format"], head["package"]) != (FORMAT, __version__):
        raise ConfigError(
            f"{path} was written by llmbench-locust {head['package']}, this is "
            f"{__version__}; use that version"
        )
    return head
