"""``--probe-request-rate``: one-token requests at a constant rate alongside the workload."""

from __future__ import annotations

import gevent
import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.users.session import Session
from llmbench_locust.workload.sample import SampleRequest


class Prober:
    """Sends at most ``rate`` probes a second, one at a time, until `stop`."""

    def __init__(self, session: Session, rate: float) -> None:
        self._session = session
        self._interval_s = 1 / rate
        self._e2el_s: list[float] = []
        self._failed = 0
        self._greenlet = gevent.spawn(self._loop)

    def _loop(self) -> None:
        while True:
            record = self._session.perform(SampleRequest("Hi", 1, 1), quiet=True)
            if record.success:
                self._e2el_s.append(record.last_time - record.start_time)
            elif record.error_kind != "interrupted":
                self._failed += 1
            gevent.sleep(self._interval_s)

    def stop(self) -> None:
        self._greenlet.kill()
        self._session.close()

    def figures(self) -> Json | None:
        """The figures by vLLM's keys; None if no probe succeeded."""
        if not self._e2el_s:
            return None
        p50, p99 = np.percentile(self._e2el_s, [50, 99]) * 1000
        return {
            "probe_completed": len(self._e2el_s),
            "probe_failed": self._failed,
            "probe_median_e2el_ms": float(p50),
            "probe_p99_e2el_ms": float(p99),
            "probe_max_e2el_ms": max(self._e2el_s) * 1000,
        }
