"""Several runs, one after another, in one Locust test: the same workers, users and connections.

An experiment is a function of `Runs`: it calls `Runs.run` any number of times, each time with
another configuration, and gets a report each time. The Locust test ends when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import gevent

from llmbench_locust.errors import Interrupted
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.benchmark import Benchmark, Progress, replicas_of
from llmbench_locust.run.crew import Crew
from llmbench_locust.run.sources import Planned, Source

if TYPE_CHECKING:
    from llmbench_locust.run.report import Report

#: Seconds between two calls of a run's ``watch``, and between two checks of a server's queue.
WATCH_S = 0.5
#: Seconds to wait for all users; a run then begins with the users that exist.
SPAWN_S = 30.0

Experiment = Callable[["Runs"], None]
#: Called during a run; returns True to end it.
Watch = Callable[[Progress], bool]


class Runs:
    """``config``: from the flags or the web form. ``report``: of the latest run.

    ``exit_status``: of the process, None to leave it to Locust.
    """

    def __init__(self, crew: Crew, config: RunConfig, live: LiveStats) -> None:
        self.config = config
        self.report: Report | None = None
        self.exit_status: int | None = None
        self.stopping = False
        self.environment = crew.environment
        self._crew = crew
        self._live = live
        live.experiment = None
        self._latest: Benchmark | None = None
        self._going: Benchmark | None = None
        self._killable: gevent.Greenlet | None = None

    def run(self, config: RunConfig, watch: Watch | None = None, *, quiet: bool = False) -> Report:
        """One run from preparation to report. Blocks the calling greenlet until it is over.

        ``quiet``: no output on the console before and during the run. ``watch`` is called twice a
        second and ends the run by returning True: requests in flight are aborted, and the report
        says ``interrupted``. A run that the user stops returns its report, too. Raises
        `Interrupted` if the user stops the test before the run sends its first request,
        ConfigError and SetupError if the run cannot begin.
        """
        benchmark = self.begin(config, Planned(), quiet=quiet)
        try:
            while not benchmark.finished.wait(None if watch is None else WATCH_S):
                if watch is not None and watch(benchmark.progress()):
                    benchmark.interrupt()
        finally:
            report = self.conclude(benchmark)
        return report

    def show(self, document: Json) -> None:
        """Set the JSON document that the web page shows about all runs together."""
        self._live.experiment = document

    def begin(self, config: RunConfig, source: Source, *, quiet: bool = False) -> Benchmark:
        """The first half of `run`: prepares and starts. `conclude` must follow."""
        self._live.preparing()
        self._latest = benchmark = Benchmark(self._crew, config, self._live, source, quiet=quiet)
        try:
            with self._interruptible():
                self._crew.refuse_other_versions()
                if users := benchmark.prepare(meanwhile=_import_report):
                    self._crew.need_users(users)
                    self._crew.spawned.wait(SPAWN_S)
        except BaseException:
            benchmark.close()
            raise
        self._going = benchmark
        benchmark.start()
        return benchmark

    def conclude(self, benchmark: Benchmark) -> Report:
        """The second half: the report of a run that is over."""
        from llmbench_locust.run.report import make_report

        self._going = None
        columns = benchmark.close()
        self.report = replace(make_report(benchmark, columns), settle=benchmark.settling())
        self._live.finish(self.report.document, self.report.audit)
        return self.report

    def wait_until_idle(self, timeout_s: float = 60.0) -> bool | None:
        """Wait until the servers' metrics show no running or queued request.

        Returns True once they are idle, False after ``timeout_s``, None if no server says.
        Raises `Interrupted` if the user stops the test meanwhile.
        """
        servers, deadline = replicas_of(self.config), perf_counter() + timeout_s
        with self._interruptible():
            while any(left := [s.requests_left() for s in servers]) and perf_counter() < deadline:
                gevent.sleep(WATCH_S)
        return None if set(left) == {None} else not any(left)

    def receive(self, kind: str, data: object, worker: str) -> None:
        if self._latest is not None and self._latest.coordinator is not None:
            self._latest.coordinator.receive(kind, data, worker)

    def stop(self) -> None:
        """The user stops the test. Ends the current run and returns once its outcomes are in."""
        self.stopping = True
        if self._going is not None and self._going.coordinator is not None:
            if self._going.coordinator.plan.tasks:
                self._going.halt()
            else:
                self._going.interrupt()
        elif self._killable is not None:
            self._killable.kill(block=False)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Inside this context, `stop` raises `Interrupted`."""
        if self.stopping:
            raise Interrupted
        self._killable = gevent.getcurrent()
        try:
            yield
        except gevent.GreenletExit:
            raise Interrupted from None
        finally:
            self._killable = None


def _import_report() -> None:
    """Import what the report and the server's metrics need. At the end of the run, after days, the
    files may be from another version.
    """
    import prometheus_client.parser  # noqa: F401

    from llmbench_locust.run import report  # noqa: F401
