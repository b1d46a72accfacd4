"""What a run records of its client."""

import tracemalloc

import numpy as np
import pytest

from llmbench_locust.run.audit_log import AuditLog
from tests.dispatch.test_messages import report


@pytest.mark.parametrize(("clock_s", "share"), [(0.3, {}), (2.0, {"w": pytest.approx(0.1)})])
def test_cpu_is_known_after_a_second(clock_s, share):
    """A run of a few requests is over before its processes are idle."""
    log = AuditLog()
    log.report("w", report(), (5.0, 7.0), (5.2, 7.0 + clock_s))
    assert log.cpu() == share


def test_lags_take_the_same_memory_however_many_there_are():
    log, lag_s = AuditLog(), np.linspace(0, 0.1, 50)
    log.report("w", report(), None, None)
    tracemalloc.start()
    try:
        for _ in range(4000):
            log.report("w", report(send_lag_s=lag_s.copy(), loop_lag_s=lag_s.copy()), None, None)
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
