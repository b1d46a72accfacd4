"""Passes reports to the live statistics later and in small pieces, so that no send is late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime

import gevent
import numpy as np
from numpy.typing import NDArray

from llmbench_locust.dispatch.messages import Report
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.redact import without_user
from llmbench_locust.run.sources import Source
from llmbench_locust.server_metrics.figures import at_present
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.transport.gaps import Gaps

FEED_S = 0.4
#: Requests in one piece, and its approximate duration.
ROWS = 128
PIECE_S = 0.0008
#: Samples of the live statistics (ms), and their names in a report (s).
_SAMPLES = {"ttft_ms": "ttft_s", "send_lag_ms": "send_lag_s", "loop_lag_ms": "loop_lag_s"}


class LiveFeed:
    """``totals()``: the scalar counters of `LiveStats.counters`. ``readings()``: the latest reading
    of each metrics page.
    """

    def __init__(
        self,
        live: LiveStats,
        totals: Callable[[], Json],
        readings: Callable[[], list[Reading]],
        gaps: Gaps,
    ) -> None:
        self._readings = readings
        self._gaps = gaps
        self._live = live
        self._totals = totals
        self._columns: deque[RecordColumns] = deque()
        self._samples: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _SAMPLES}
        self._new = False
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def columns(self, columns: RecordColumns) -> None:
        """Add requests that have an outcome."""
        self._columns.append(columns)

    def report(self, report: Report) -> None:
        self._new = True
        for name, key in _SAMPLES.items():
            self._samples[name].append(getattr(report, key) * 1000)

    def stop(self) -> None:
        """Pass on what is left."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        for _ in self._pieces():
            pass

    def _run(self) -> None:
        while True:
            gevent.sleep(FEED_S)
            self._gaps.wait(PIECE_S)
            for _ in self._pieces():
                gevent.sleep(0.001)
                self._gaps.wait(PIECE_S)

    def _pieces(self) -> Iterator[None]:
        if self._new:
            self._new = False
            samples, self._samples = self._samples, {name: [] for name in _SAMPLES}
            lists = {
                name: np.concatenate(parts) if parts else np.empty(0)
                for name, parts in samples.items()
            }
            self._live.counters(self._totals() | lists)
            if readings := self._readings():
                self._live.server(max(r.time_s for r in readings), at_present(readings))
            yield
        while self._columns:
            some, rows = [self._columns.popleft()], 0
            while self._columns and (rows := rows + len(some[-1])) + len(self._columns[0]) <= ROWS:
                some.append(self._columns.popleft())
            self._live.add(RecordColumns.concat(some))
            yield


def run_info(config: RunConfig, source: Source, started_at: datetime) -> Json:
    """Description of a run for the live page."""
    planned = bool(source.prompts)
    return {
        "model": config.served_model_name or config.model,
        "backend": config.backend,
        "kind": config.backend_info.kind,
        "base_url": without_user(config.base_url),
        "dataset": config.dataset_name if planned else "users' own tasks",
        "num_prompts": source.total,
        "request_rate": config.request_rate if planned else None,
        "max_concurrency": config.max_concurrency,
        "concurrent_sessions": config.concurrent_sessions,
        "goodput_ms": dict(config.goodput),
        "percentiles": list(config.metric_percentiles),
        "started": started_at.isoformat(timespec="seconds"),
    }
