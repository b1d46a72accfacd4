"""A job on a real socket pair: an error of our own in one answer ends that answer and no other."""

from __future__ import annotations

import gevent.socket
import pytest

from llmbench_locust.simulator.ask import Ask
from llmbench_locust.simulator.engine.job import Job
from llmbench_locust.simulator.engine.outlet import Outlet
from llmbench_locust.simulator.engine.text import Plan
from llmbench_locust.simulator.protocols.completions import Completions
from llmbench_locust.simulator.stats import Seen, Stats


class Broken(Completions):
    def event(self, index: int) -> bytes:
        if index == 1:
            raise ZeroDivisionError("in the script")
        return super().event(index)


def test_a_failing_script_closes_its_connection_only(capfd: pytest.CaptureFixture[str]) -> None:
    stats = Stats(keep=10)
    near, far = gevent.socket.socketpair()
    ask = Ask(prompt="x", prompt_tokens=1, stream=True)
    seen = Seen(0.0, "/v1/completions", "r", {}, "0" * 16, 1, 3, True, "m")
    stats.begin(seen)
    job = Job(Outlet(near), Broken(ask, Plan([b"a", b"b", b"c"], 3, "length"), "r"), seen, stats, 0)
    job.begin()
    assert job.emit()
    assert not job.emit()
    assert job.finished.is_set()
    assert job.close_connection
    assert (seen.outcome, stats.in_flight, stats.outcomes["failed"]) == ("failed", 0, 1)
    assert far.recv(65536).count(b"data: ") == 1
    assert "in the script" in capfd.readouterr().err
    near.close()
    far.close()
