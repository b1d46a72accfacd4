"""Continues a killed run from its journal: sends the requests that have no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import duration_of
from llmbench_locust.records import RecordColumns
from llmbench_locust.run.journal import read_journal


class Resumed:
    """``prompts``, ``total``: of the new run; the journal must be of the same plan. ``done``:
    indexes of the requests with an outcome other than an interruption. ``joined``: whether
    `outcomes` was called. ``duration_s``: how long the killed run had run. Raises ConfigError.
    """

    def __init__(self, path: str, prompts: str, total: int | None) -> None:
        head: Json = {}
        self._parts: list[RecordColumns] = []
        read_journal(Path(path), lambda part: self._parts.append(_ended(part)), head)
        if total is None or head["total"] is None:
            raise ConfigError(f"--resume: {path}: a run of unknown length has nothing left to send")
        if (head["prompts"], head["total"]) != (prompts, total):
            raise ConfigError(
                f"--resume: {path} is of another plan; repeat its dataset, --seed and --num-prompts"
            )
        self.joined = False
        self._path = path
        self.done: Indexes = np.concatenate(
            [np.empty(0, np.int64), *(part.ints["index"] for part in self._parts)]
        )
        if len(self.done) == total:
            raise ConfigError(f"--resume: {path} has all {total} requests; use llmbench report")
        self.duration_s = max(
            (duration_of(part, head["start_s"]) for part in self._parts), default=0.0
        )
        self._end_s = head["start_s"] + self.duration_s

    def outcomes(self, start_s: float) -> Iterator[RecordColumns]:
        """The journal's outcomes, as if its run had ended when this one started; once."""
        self.joined = True
        parts, self._parts = self._parts, []
        for part in parts:
            part.shift_times(start_s - self._end_s)
            yield part

    def figures(self) -> Json:
        """For the result."""
        return {
            "journal": Path(self._path).name,
            "requests": len(self.done),
            "duration_s": self.duration_s,
        }


def _ended(part: RecordColumns) -> RecordColumns:
    """Its rows without requests that were aborted because the user stopped the run."""
    rows = np.flatnonzero([kind != "interrupted" for kind in part.texts["error_kind"]])
    return part if len(rows) == len(part) else part.take(rows)
