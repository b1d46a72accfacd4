"""One run, from its configuration to its outcomes, on the master or in the only process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import perf_counter

import gevent
import numpy as np
from gevent.event import Event

from llmbench_locust.dispatch.coordinator import Coordinator
from llmbench_locust.dispatch.roster import WorkerState
from llmbench_locust.errors import SetupError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.files import check_outputs
from llmbench_locust.run import spec_decode
from llmbench_locust.run.audit_log import AuditLog
from llmbench_locust.run.cold_cache import cool
from llmbench_locust.run.control_api import Server
from llmbench_locust.run.crew import Crew
from llmbench_locust.run.journal import Journal, Kept, head_of, is_wanted
from llmbench_locust.run.live_feed import LiveFeed, run_info
from llmbench_locust.run.probe import Prober
from llmbench_locust.run.progress_line import ProgressLine
from llmbench_locust.run.ready import Waiting, wait_for_model, wait_until_ready, warm_up
from llmbench_locust.run.resumed import Resumed
from llmbench_locust.run.server_watch import Readings, say_unread, split, watch_of
from llmbench_locust.run.sources import Source
from llmbench_locust.run.wiring import api_key_for, wire_config
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.watch import ServerWatch
from llmbench_locust.terminal import say
from llmbench_locust.users.session import Session, servers_of
from llmbench_locust.workload.sample import SampleRequest


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run, as last reported by the workers. ``elapsed_s``: since the start of the
    arrivals. ``completed``: requests with an outcome, of which ``failed`` failed. ``waiting``: due
    but not sent, because no permit is free.
    """

    elapsed_s: float
    offered: int
    sent: int
    completed: int
    failed: int
    waiting: int

    @property
    def in_flight(self) -> int:
        return self.sent - self.completed


class Benchmark:
    """One run: `prepare`, `start`, wait for `finished`, `close`. ``source`` supplies requests."""

    def __init__(
        self, crew: Crew, config: RunConfig, live: LiveStats, source: Source, *, quiet: bool = False
    ) -> None:
        self._say = (lambda line: None) if quiet else say
        self.environment = crew.environment
        self.config = source.settle(config)
        self.source = source
        self.live = live
        self.finished = Event()
        self.store = RecordStore(max_exact_tokens=config.max_exact_tokens)
        self.audit = AuditLog()
        self.coordinator: Coordinator | None = None
        self.interrupted = False
        self.started_at = datetime.now()
        self.spec_decode: Json | None = None
        self.prober: Prober | None = None
        self.server = server_of(self.config)
        self.cold_cache: Json = {}
        self.server_readings: Readings = {}
        self.gpu_readings: Readings = {}
        self._watch: ServerWatch | None = None
        self._crew = crew
        self._failed = 0
        self._spec_before: spec_decode.Counts | None = None
        self._profiling = False
        self._journal: Journal | None = None
        self._kept = Kept()
        self.resumed: Resumed | None = None
        self._bar: ProgressLine | None = None
        self._timer: gevent.Greenlet | None = None
        self._feed = LiveFeed(live, self._totals, self._readings_now, crew.gaps)
        self._waiting = Waiting(config.base_url, config.ready_check_timeout_sec, live.waiting)

    # --- before

    def prepare(self, meanwhile: Callable[[], None] = lambda: None) -> int:
        """Do everything that must precede the start of the clock. Returns the number of users to
        spawn, 0 to leave that to Locust. Calls ``meanwhile`` while the ready check waits for the
        server. Raises ConfigError, SetupError.
        """
        check_outputs(self.config)
        if self.config.model is None:
            model = wait_for_model(self.server, self._waiting, self.config.backend)
            self.config = replace(self.config, model=model)
        self.source.load(self.config, self._say)
        self.live.reset(run_info(self.config, self.source, self.started_at))
        aside = gevent.spawn(meanwhile)
        latency_s = self._rehearse()
        aside.join()
        if self.config.resume and not self.config.capacity:
            prompts, total = self.source.prompts, self.source.total
            self.resumed = Resumed(self.config.resume, prompts, total)
            self.source.skip(self.resumed.done)
        self.cold_cache = cool(self.config, replicas_of(self.config), self.source, self._say)
        self._watch = watch_of(self.config)
        plan = self.source.plan(self.config, self._crew, latency_s)
        if is_wanted(self.config, float(np.max(self.source.due_s, initial=0.0))):
            self._journal = Journal(self.config, self.started_at, self.audit, self._watch)
        self._say("Starting main benchmark run...")
        self.coordinator = Coordinator(
            plan,
            self._crew,
            on_columns=self._on_columns,
            on_report=self._on_report,
            done=self.finished,
        )
        self.coordinator.prepare()
        if self._watch is not None:
            say_unread(self._watch, self.config, self._say)
        if not self.config.disable_tqdm:
            done = 0 if self.resumed is None else len(self.resumed.done)
            left = None if self.source.total is None else self.source.total - done
            self._bar = ProgressLine(self.live, left, self._crew.gaps)
        return self.source.users and max(self.source.users, len(self.coordinator.workers))

    def _rehearse(self) -> float | None:
        """Ready check, warm-ups, alignment, profiler, the server's counters. Returns the latency
        of the ready check in seconds, None without a check.
        """
        config = self.config
        latency_s = None
        if self.source.rehearsal is not None:
            found = [self._warm_up(self.source.rehearsal, url) for url in config.base_urls]
            latency_s = max((s for s in found if s is not None), default=None)
        self.source.align(config, self.server, self._say)
        if config.backend_info.kind == "generation":
            self._spec_before = spec_decode.counts_of(self.server.metrics_text())
        if config.vllm_profile:
            self._say("Starting profiler...")
            if error := self.server.profile("start"):
                raise SetupError(f"--vllm-profile: the server did not start its profiler ({error})")
            self._profiling = True
        return latency_s

    def _warm_up(self, sample: SampleRequest, url: str) -> float | None:
        """Ready check and warm-ups of one server, with a session that is closed before the clock
        starts.
        """
        config = self.config.with_server(url)
        session = self._session(config)
        waiting = self._waiting
        if url != self.config.base_url:
            waiting = Waiting(url, config.ready_check_timeout_sec, self.live.waiting)
        try:
            if config.ready_check_timeout_sec > 0:
                self._say("Starting initial single prompt test run...")
            latency_s = wait_until_ready(session, sample, server_of(config), waiting)
            if config.num_warmups:
                self._say(f"Warming up with {config.num_warmups} requests...")
                cap, bar = config.max_concurrency, not config.disable_tqdm
                warm_up(session, sample, config.num_warmups, cap, bar=bar)
        finally:
            session.close()
        return latency_s

    def _session(self, config: RunConfig) -> Session:
        wire = wire_config(config)
        return Session(self.environment, wire, servers=servers_of(wire, self._crew.gaps))

    # --- during

    def start(self) -> None:
        """Start the clock. The users exist already, or Locust spawns them now."""
        assert self.coordinator is not None
        self.audit.begin()
        self.live.begin()
        self._feed.start()
        if self.config.probe_request_rate > 0:
            self.prober = Prober(self._session(self.config), self.config.probe_request_rate)
        self.coordinator.start()
        if self._journal is not None:
            self._journal.start(self.coordinator, self._head, self._crew.gaps)
        if self.coordinator.plan.tasks and self.config.run_time_s is not None:
            self._timer = gevent.spawn_later(self.config.run_time_s, self._crew.end_test)

    def progress(self) -> Progress:
        """The current progress."""
        totals = self._totals()
        return Progress(
            perf_counter() - totals["start_s"],
            totals["offered"],
            totals["sent"],
            totals["completed"],
            self._failed,
            totals["waiting"],
        )

    def _on_columns(self, columns: RecordColumns) -> None:
        self._join()
        self._keep(columns)
        self._failed += int(np.count_nonzero(columns.failed))
        self._feed.columns(columns)

    def _keep(self, columns: RecordColumns) -> None:
        """Store outcomes in memory or in the journal."""
        (self._journal or self.store).add(columns)

    def _join(self) -> None:
        """Add the outcomes of the --resume journal to this run, once its start is known."""
        if self.resumed and not self.resumed.joined and self.start_s == self.start_s:
            for columns in self.resumed.outcomes(self.start_s):
                self._keep(columns)

    def _on_report(self, worker: WorkerState) -> None:
        assert worker.latest is not None
        self.audit.report(worker.id, worker.latest, worker.cpu_start, worker.cpu_last)
        self._feed.report(worker.latest)

    def _totals(self) -> Json:
        assert self.coordinator is not None
        workers = self.coordinator.workers.values()
        latest = [w.latest for w in workers if w.latest is not None and not w.lost]
        ledger = self.coordinator.ledger
        return {
            "start_s": self.coordinator.start_s,
            "offered": sum(report.offered for report in latest),
            "sent": ledger.sent_count,
            "completed": ledger.done_count,
            "in_flight": sum(report.in_flight for report in latest),
            "waiting": sum(report.waiting for report in latest),
            "token_events": sum(report.token_events for report in latest),
            "cpu": self.audit.cpu(),
        }

    def _readings_now(self) -> list[Reading]:
        return self._watch.latest() if self._watch is not None else []

    # --- after

    def interrupt(self) -> None:
        """Stop before the end and collect the outcomes so far."""
        if self.coordinator is not None and not self.finished.is_set():
            self.coordinator.interrupt()
            # Locust ends the test itself when it has no worker left.
            self.interrupted = any(not w.lost for w in self.coordinator.workers.values())

    def halt(self) -> None:
        """Locust stops users with their own tasks; `finished` is set once all outcomes are in."""
        if self.coordinator is not None:
            self.interrupted = self._timer is not None and not self._timer.ready()
            self.coordinator.halt()

    def close(self) -> RecordColumns:
        """The run is over: stop the profiler, read the server's counters; returns all outcomes, in
        the order of the plan.
        """
        if self.coordinator is not None:
            self.coordinator.finish()
        if self._timer is not None:
            self._timer.kill(block=False)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._feed.stop()
        self._join()
        self.audit.end()
        if self.prober is not None:
            self.prober.stop()
        if self._profiling:
            self._say("Stopping profiler...")
            if error := self.server.profile("stop"):
                self._say(f"--vllm-profile: the server did not stop its profiler ({error})")
        if self._watch is not None:
            self._watch.stop()
            found = self._watch.of_run(self.start_s)
            self.server_readings, self.gpu_readings = split(found, self.config)
        if self._spec_before is not None:
            self.spec_decode = spec_decode.figures_between(
                self._spec_before, spec_decode.counts_of(self.server.metrics_text())
            )
        if self._journal is not None:
            self._kept = self._journal.close(self.store.add, ended=not self.interrupted)
        self.server.close()
        return self.store.columns()

    @property
    def origin_s(self) -> float:
        """Zero of all times: the start of the arrivals, with --resume that of the first run."""
        return self.start_s - (0.0 if self.resumed is None else self.resumed.duration_s)

    def settling(self) -> Callable[[], None]:
        """What to call when the report is written: deletes the journal, unless --journal asked for
        it. Does not refer to this run: reports are kept for longer than its prompts and records.
        """
        if self._journal is None or self.config.journal or not self._journal.whole:
            return lambda: None
        return partial(self._journal.path.unlink, missing_ok=True)

    def _head(self) -> Json:
        more = {
            "start_s": self.origin_s,
            "total": self.source.total,
            "prompts": self.source.prompts,
            "cold_cache": self.cold_cache,
        }
        return head_of(self.config, self.started_at, more)

    def audit_inputs(self) -> AuditInputs:
        """What the client recorded about itself over the whole run."""
        assert self.coordinator is not None
        return self.audit.inputs(self.config, self.coordinator).after(self._kept.audit)

    @property
    def start_s(self) -> float:
        """Start of the arrivals, seconds of perf_counter; NaN before."""
        return self.coordinator.start_s if self.coordinator is not None else float("nan")


def replicas_of(config: RunConfig) -> list[Server]:
    """`server_of` for each server of ``config``."""
    return [server_of(config.with_server(url)) for url in config.base_urls]


def server_of(config: RunConfig) -> Server:
    """Client for control requests to the server of ``config``."""
    key = api_key_for(config)
    return Server(config.base_url, config.header, key, insecure=config.insecure)
