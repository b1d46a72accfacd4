"""The progress line on the terminal during a run:
``22/80 · 0 failed · 7.9 req/s · 6 in flight · TTFT p50 15 p99 22 ms``; a narrow terminal cuts its
end.
"""

from __future__ import annotations

import gevent

from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.terminal import Status
from llmbench_locust.transport.gaps import Gaps

#: Seconds between two updates, and the approximate duration of one.
LOOK_S = 0.5
LOOKING_S = 0.0003


def progress_line(live: LiveStats, total: int | None) -> str:
    """The figures of the run so far. ``total``: requests of the plan, None without one."""
    now = live.totals()
    done = now["completed"] + now["failed"] + now["cancelled"]
    parts = [f"{done}" if total is None else f"{done}/{total}", f"{now['failed']} failed"]
    if now["cancelled"]:
        parts.append(f"{now['cancelled']} cancelled")
    if now["request_throughput"] is not None:
        parts.append(f"{now['request_throughput']:.1f} req/s")
    if now["in_flight"] is not None:
        parts.append(f"{now['in_flight']} in flight")
    if now["waiting"]:
        parts.append(f"{now['waiting']} waiting")
    name = "e2el" if live.info.get("kind") == "pooling" else "ttft"
    latency = live.samples[name].figures((50.0, 99.0))
    if latency:
        p50, p99 = _short(latency["p50"]), _short(latency["p99"])
        parts.append(f"{name.upper()} p50 {p50} p99 {p99} ms")
    return " · ".join(parts)


def _short(ms: float) -> str:
    return f"{ms:.1f}" if ms < 10 else f"{ms:.0f}"


class ProgressLine:
    """Shows `progress_line` until `close`."""

    def __init__(self, live: LiveStats, total: int | None, gaps: Gaps) -> None:
        self._gaps = gaps
        self._live = live
        self._total = total
        self._status = Status()
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        self._greenlet.kill(block=False)
        self._status.clear()

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_S)
            self._gaps.wait(LOOKING_S)
            self._status.show(progress_line(self._live, self._total))
