"""The client's own figures of a run: lags, CPU, overflow. `metrics.audit` evaluates them."""

from __future__ import annotations

import os
import socket
import time
from time import perf_counter
from typing import TYPE_CHECKING

from llmbench_locust.calibration.kept import kept
from llmbench_locust.dispatch.messages import Report
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.audit import AuditInputs, Connections
from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.options.config import RunConfig

if TYPE_CHECKING:
    from llmbench_locust.dispatch.coordinator import Coordinator

#: CPU usage over less time is meaningless: every run is busy at its start.
CPU_OVER_S = 1.0


class AuditLog:
    """Fed by each worker's report; read once at the end (and for live figures)."""

    def __init__(self) -> None:
        self.forget_lags()
        self._latest: dict[str, Report] = {}
        self._cpu: dict[str, float] = {}
        self._waited_before: dict[str, float] = {}
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        self._began = (time.process_time(), perf_counter())

    def report(
        self,
        worker: str,
        report: Report,
        cpu_start: tuple[float, float] | None,
        cpu_last: tuple[float, float] | None,
    ) -> None:
        """``cpu_*``: (CPU seconds used, clock in seconds) of the worker at its first and its latest
        report.
        """
        self._send_lag.add(report.send_lag_s)
        self._loop_lag.add(report.loop_lag_s)
        self._latest[worker] = report
        self._waited_before.setdefault(worker, report.queue_wait_s)
        if cpu_start is not None and cpu_last is not None:
            clock_s = cpu_last[1] - cpu_start[1]
            if clock_s >= CPU_OVER_S:
                self._cpu[worker] = (cpu_last[0] - cpu_start[0]) / clock_s

    def end(self) -> None:
        """Freeze the master's own CPU figure."""
        if self._began is not None and "local" not in self._cpu:
            wall = perf_counter() - self._began[1]
            if wall > 0:
                self._cpu["master"] = (time.process_time() - self._began[0]) / wall
        self._began = None

    def cpu(self) -> dict[str, float]:
        """CPU of each client process as a fraction of one core."""
        return dict(self._cpu)

    def forget_lags(self) -> None:
        """Drop the lags so far: they are in the journal."""
        self._send_lag, self._loop_lag = Histogram(), Histogram()

    def inputs(self, config: RunConfig, coordinator: Coordinator) -> AuditInputs:
        """What `metrics.audit` evaluates; lags since `forget_lags`."""
        reports, workers = self._latest.values(), coordinator.workers.values()
        waits = [r.queue_wait_s - self._waited_before[w] for w, r in self._latest.items()]

        def total(name: str) -> float:
            return float(sum(getattr(report, name) for report in reports))

        return AuditInputs(
            self._send_lag.copy(),
            self._loop_lag.copy(),
            self.cpu(),
            cores=len(os.sched_getaffinity(0)),
            overflow=int(total("overflow")),
            resent=int(total("resent")),
            connections=Connections(
                int(total("most_connections")), int(total("most_in_use")), total("idle_excess_s")
            ),
            starved_s=max(waits, default=0.0),
            lapsed_s=max((report.lapsed_s for report in reports), default=0.0),
            shared_chunks=int(total("shared_chunks")),
            token_events=int(total("token_events")),
            kernel_times=bool(reports) and all(report.kernel_times for report in reports),
            reader="native" if {report.reader for report in reports} == {"native"} else "python",
            calibration=_calibration(coordinator),
            workers_lost=coordinator.workers_lost,
            clock_error_s=max((w.clock.error_s for w in workers), default=0.0),
            burst=config.request_rate == float("inf")
            and config.ramp_up_strategy is None
            and not (config.self_timed or coordinator.plan.tasks),
        )


def _calibration(coordinator: Coordinator) -> Json | None:
    """What `llmbench calibrate` found; None if a worker runs on another machine."""
    workers, here = coordinator.workers.values(), socket.gethostname()
    found = kept(len(workers)) if all(w.host == here for w in workers) else None
    return {k: v for k, v in found.items() if k != "levels"} if found else None


def workers_of(coordinator: Coordinator) -> list[Json]:
    """The workers, for the result file."""
    return [
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
