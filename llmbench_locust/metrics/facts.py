"""The facts of a finished run, from which every figure and format is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.metrics.latencies import Ints
from llmbench_locust.metrics.store import Folded
from llmbench_locust.metrics.vllm import Summary
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.workload.sharing import Sharing


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """What responses are checked against, by index of the request in the plan; None if there is
    nothing. ``references``: for ``exact``; ``others``: the responses of another run. ``schema``,
    and which requests ``asked`` for it.
    """

    references: Sequence[str | None] = ()
    others: Sequence[str | None] = ()
    schema: Json | None = None
    asked: Sequence[bool] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """``origin_s``: start of the arrivals on the records' clock; ``duration_s``: from there to the
    last end. ``counted``: the tokenizer's count of each response (int64, shape (n,), -1 for none).
    ``audit``: what the client recorded about itself, None if it did not. ``unsent``: requests of
    the plan that were never sent. ``cut_off``: requests without an outcome, because their users
    were stopped. ``folded``: token events that are only kept in aggregated form.

    ``turns``: requests of the plan by session; a session that is missing has one. None if unknown,
    as in a journal.

    ``spec_decode``, ``probes``, ``rps_changes``: vLLM's keys, from the server's counters, the probe
    requests and the ramp; None if there were none. ``prompts``: the digest of the prompts in the
    order of the plan, "" without a plan. ``environment``: what the client ran on. ``server``,
    ``gpus``: the readings of each metrics page, by its URL. ``sharing``: of the plan's prompts,
    None without one. ``cold_cache``: how the run began with a cold prefix cache (`run.cold_cache`).
    """

    config: RunConfig
    columns: RecordColumns
    origin_s: float
    duration_s: float
    started_at: datetime
    counted: Ints | None = None
    audit: AuditInputs | None = None
    workers: Sequence[Json] = ()
    interrupted: bool = False
    unsent: int = 0
    cut_off: int = 0
    folded: Folded | None = None
    turns: Mapping[int, int] | None = None
    spec_decode: Json | None = None
    probes: Json | None = None
    rps_changes: list[Json] | None = None
    prompts: str = ""
    environment: Json = field(default_factory=dict)
    server: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    gpus: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    sharing: Sharing | None = None
    cold_cache: Json = field(default_factory=dict)
    resumed: Json | None = None
    answers: AnswerKey = AnswerKey()

    @property
    def planned(self) -> bool:
        """Whether a plan gave each request its time; else users' own tasks sent them."""
        due = self.columns.floats["due_time"]
        return not len(due) or not np.all(np.isnan(due))

    @property
    def gone(self) -> NDArray[np.bool_]:
        """Rows whose token events are not all kept (bool, shape (n,))."""
        if self.folded is None:
            return np.zeros(len(self.columns), np.bool_)
        return self.folded.mask(self.columns)


@dataclass(frozen=True, slots=True)
class Figures:
    """``block``: the value of the result's key ``llmbench``, as far as it is computed."""

    facts: RunFacts
    summary: Summary
    block: Json

    @property
    def counters(self) -> Json:
        """The server's counters over the run; {} if it has none."""
        server = self.block.get("server")
        return server["all"]["counters"] if server else {}


def duration_of(columns: RecordColumns, origin_s: float) -> float:
    """Seconds from the start of the arrivals to the close of the last stream; 0.0 without one."""
    ends = columns.floats["end_time"]
    return max(float(np.nanmax(ends) - origin_s), 0.0) if np.any(~np.isnan(ends)) else 0.0
