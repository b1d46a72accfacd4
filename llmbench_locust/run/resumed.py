"""A run that goes on with one that was killed: by its journal, what it never had an outcome of is
sent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import duration_of
from llmbench_locust.records import RecordColumns
from llmbench_locust.run.journal import read_journal


class Resumed:
    """``prompts``, ``total``: of the run that goes on; the journal must be of the same plan.
    ``done``: indexes of the requests with an outcome. ``joined``: `outcomes` was called.
    ``duration_s``: how long the killed run had run. Raises ConfigError.
    """

    def __init__(self, path: str, prompts: str, total: int | None) -> None:
        head, store = read_journal(Path(path))
        if total is None:
            raise ConfigError(f"--resume: {path}: a run without an end has nothing left to send")
        if (head["prompts"], head["total"]) != (prompts, total):
            raise ConfigError(
                f"--resume: {path} is of another plan; repeat its dataset, --seed and --num-prompts"
            )
        self.joined = False
        self._path, self._columns = path, store.columns()
        self.done: Indexes = self._columns.ints["index"]
        if len(self.done) == total:
            raise ConfigError(f"--resume: {path} has all {total} requests; use llmbench report")
        if np.any(self._columns.ints["turn"] > 0):
            raise ConfigError(f"--resume: {path}: sessions that were broken off cannot go on")
        self._end_s = head["start_s"] + (duration := duration_of(self._columns, head["start_s"]))
        self.duration_s = duration

    def outcomes(self, start_s: float) -> RecordColumns:
        """Those of the journal, as if its run had ended when this one started; once."""
        self.joined = True
        self._columns.shift_times(start_s - self._end_s)
        return self._columns

    def figures(self) -> Json:
        """For the result."""
        return {
            "journal": Path(self._path).name,
            "requests": len(self.done),
            "duration_s": self.duration_s,
        }
