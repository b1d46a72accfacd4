"""The client's own figures of a run: lags, CPU, overflow. `metrics.audit` judges them."""

from __future__ import annotations

import os
import time
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.dispatch.messages import Report

#: A share of CPU over less time says nothing: any run is busy while it begins.
CPU_OVER_S = 1.0


class AuditLog:
    """Fed by each worker's report; read once at the end (and for live figures)."""

    def __init__(self) -> None:
        self._send_lag: list[NDArray[np.float64]] = []
        self._loop_lag: list[NDArray[np.float64]] = []
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
        if len(report.send_lag_s):
            self._send_lag.append(report.send_lag_s)
        if len(report.loop_lag_s):
            self._loop_lag.append(report.loop_lag_s)
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

    @property
    def send_lag_s(self) -> NDArray[np.float64]:
        return np.concatenate(self._send_lag) if self._send_lag else np.empty(0)

    @property
    def loop_lag_s(self) -> NDArray[np.float64]:
        return np.concatenate(self._loop_lag) if self._loop_lag else np.empty(0)

    def total(self, name: str) -> float:
        """The sum of a figure over the workers, as each last reported it."""
        return float(sum(getattr(report, name) for report in self._latest.values()))

    @property
    def starved_s(self) -> float:
        """The most seconds that a worker was ready to run and had no core."""
        return max(
            (r.queue_wait_s - self._waited_before[w] for w, r in self._latest.items()), default=0.0
        )

    @property
    def kernel_times(self) -> bool:
        """Whether every worker's arrival times are the kernel's."""
        return bool(self._latest) and all(report.kernel_times for report in self._latest.values())

    @property
    def reader(self) -> str:
        """ "native" where every worker reads its streams with the compiled reader."""
        readers = {report.reader for report in self._latest.values()}
        return "native" if readers == {"native"} else "python"

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0))
