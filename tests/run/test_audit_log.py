"""What a run records of its client."""

import pytest

from llmbench_locust.run.audit_log import AuditLog
from tests.dispatch.test_messages import report


@pytest.mark.parametrize(("clock_s", "share"), [(0.3, {}), (2.0, {"w": pytest.approx(0.1)})])
def test_cpu_is_known_after_a_second(clock_s, share):
    """A run of a few requests is over before its processes are idle."""
    log = AuditLog()
    log.report("w", report(), (5.0, 7.0), (5.2, 7.0 + clock_s))
    assert log.cpu() == share
