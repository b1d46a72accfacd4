"""One benchmark from flags to result: prepare, conduct, report. Lives on the master (in local mode,
in the only process).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Any

import gevent
import numpy as np
from gevent.event import Event
from tqdm import tqdm

from llmbench_locust.dispatch.backlog import RunPlan
from llmbench_locust.dispatch.coordinator import Coordinator, WorkerState
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.errors import BenchError, SetupError
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.results.files import check_outputs
from llmbench_locust.run.align import aligned
from llmbench_locust.run.audit_log import AuditLog
from llmbench_locust.run.control_api import (
    Server,
    SpecDecode,
    parse_spec_decode,
    spec_decode_between,
)
from llmbench_locust.run.crew import Crew
from llmbench_locust.run.live_feed import LiveFeed
from llmbench_locust.run.probe import Prober
from llmbench_locust.run.ready import Waiting, wait_for_model, wait_until_ready, warm_up
from llmbench_locust.run.schedule import connections_ahead, make_tickets
from llmbench_locust.run.wiring import api_key_for, for_workers, wire_config
from llmbench_locust.terminal import say
from llmbench_locust.transport.pool import check_files
from llmbench_locust.users.session import Session
from llmbench_locust.workload.digest import digest
from llmbench_locust.workload.sample import SampleRequest

#: Users are only holders of tickets: more than this many help nobody, overflow carries the rest.
MOST_USERS = 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """A run that is going on, as the workers last reported it. ``elapsed_s``: since the start of
    the arrivals. ``completed``: with an outcome, ``failed`` of them without success. ``waiting``:
    due and not sent, for want of a permit.
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
    """One run with a plan: `prepare`, `start`, wait for `finished`, `close`."""

    def __init__(self, crew: Crew, config: RunConfig, live: LiveStats) -> None:
        self.environment = crew.environment
        self.config = config
        self.live = live
        self._crew = crew
        self._key = api_key_for(config)
        self.finished = Event()
        self.tokenizer: Any = None
        self.samples: list[SampleRequest] = []
        self.prompts = ""
        self.store = RecordStore(max_exact_tokens=config.max_exact_tokens)
        self.audit = AuditLog()
        self.coordinator: Coordinator | None = None
        self.interrupted = False
        self._failed = 0
        self.started_at = datetime.now()
        self.spec_decode: dict[str, Any] | None = None
        self._spec_before: SpecDecode | None = None
        self._profiling = False
        self._bar: tqdm[Any] | None = None
        self._feed = LiveFeed(live, self._totals)
        self.server = server_of(config)
        self._waiting = Waiting(config.base_url, config.ready_check_timeout_sec, live.waiting)
        self.prober: Prober | None = None

    # --- before
    # --------------------------------------------------------------------------------------------------

    def prepare(self) -> int:
        """All that is to be done before the clock starts. Returns the users to spawn. Raises
        ConfigError, SetupError.
        """
        config, key = self.config, self._key
        check_outputs(config)
        if config.model is None:
            self.config = config = replace(
                config, model=wait_for_model(self.server, self._waiting, config.backend)
            )
        self.samples = self._load()
        if not self.samples:
            raise SetupError("the workload is empty: nothing to send")
        self.prompts = gevent.get_hub().threadpool.apply(digest, (self.samples,))
        self._greet()
        tickets = make_tickets(config, self.samples)
        self.live.reset(self._run_info())
        latency_s = self._rehearse()
        wire = wire_config(config, key, turns=any(s.turn for s in self.samples))
        plan = RunPlan(
            tickets=tickets,
            wire=(wire if self._crew.local else for_workers(wire, config)).to_message(),
            cap=config.max_concurrency,
            prewarm=self._connections_ahead(tickets, latency_s),
            run_time_s=config.run_time_s,
            stop_timeout_s=config.stop_timeout_s or None,
            max_workers=self._crew.expected,
            chat=config.backend_info.chat,
        )
        say("Starting main benchmark run...")
        self.coordinator = Coordinator(
            plan,
            send=self._crew.send,
            workers=self._crew.workers,
            local=self._crew.local,
            on_columns=self._on_columns,
            on_figures=self._on_figures,
            done=self.finished,
        )
        self.coordinator.prepare()
        if not config.disable_tqdm:
            self._bar = tqdm(
                total=len(self.samples), desc="Requests", file=sys.stderr, smoothing=0.1
            )
        users = min(len(self.samples), config.max_concurrency or MOST_USERS, MOST_USERS)
        return max(users, len(self.coordinator.workers))

    def _load(self) -> list[SampleRequest]:
        """In a thread of its own: the web page stays alive."""
        from llmbench_locust.run.loading import load_workload

        bar = (
            None
            if self.config.disable_tqdm
            else tqdm(desc="Preparing prompts", file=sys.stderr, leave=False)
        )
        try:
            result = gevent.get_hub().threadpool.apply(load_workload, (self.config, bar))
        finally:
            if bar is not None:
                bar.close()
        if isinstance(result, BenchError):
            raise result
        samples: list[SampleRequest]
        self.tokenizer, samples = result
        return aligned(samples, self.config, self.server, say)

    def _connections_ahead(self, tickets: list[Ticket], latency_s: float | None) -> int:
        config = self.config
        if config.prewarm_connections is not None:
            return min(config.prewarm_connections, len(tickets))
        due = np.array([ticket.due_s for ticket in tickets])
        ahead = connections_ahead(due, config.max_concurrency, latency_s)
        check_files(-(-ahead // max(1, len(self._crew.workers()))))
        return ahead

    def _rehearse(self) -> float | None:
        """Ready check, warm-ups, profiler, the server's counters: with a session that is closed
        before the clock starts.

        Returns the latency that the ready check saw in seconds, None without a check.
        """
        config = self.config
        session = Session(self.environment, wire_config(config, self._key))
        try:
            if config.ready_check_timeout_sec > 0:
                say("Starting initial single prompt test run...")
            latency_s = wait_until_ready(session, self.samples[0], self.server, self._waiting)
            if config.num_warmups:
                say(f"Warming up with {config.num_warmups} requests...")
                warm_up(
                    session,
                    self.samples[0],
                    config.num_warmups,
                    config.max_concurrency,
                    bar=not config.disable_tqdm,
                )
        finally:
            session.close()
        self._spec_before = (
            parse_spec_decode(self.server.metrics_text())
            if config.backend_info.kind == "generation"
            else None
        )
        if config.vllm_profile:
            say("Starting profiler...")
            if error := self.server.profile("start"):
                raise SetupError(f"--vllm-profile: the server did not start its profiler ({error})")
            self._profiling = True
        return latency_s

    def _greet(self) -> None:
        config = self.config
        if config.ramp_up_strategy is not None:
            say(f"Traffic ramp-up strategy: {config.ramp_up_strategy}.")
            say(
                f"Will increase RPS from {config.ramp_up_start_rps} to "
                f"{config.ramp_up_end_rps} RPS over the benchmark."
            )
        else:
            say(f"Traffic request rate: {config.request_rate}")
        kind = "Poisson process" if config.burstiness == 1.0 else "Gamma distribution"
        say(f"Burstiness factor: {config.burstiness} ({kind})")
        say(f"Maximum request concurrency: {config.max_concurrency}")

    def _run_info(self) -> dict[str, Any]:
        config = self.config
        return {
            "model": config.served_model_name or config.model,
            "backend": config.backend,
            "kind": config.backend_info.kind,
            "base_url": config.base_url,
            "dataset": config.dataset_name,
            "num_prompts": len(self.samples),
            "request_rate": config.request_rate,
            "max_concurrency": config.max_concurrency,
            "goodput_ms": dict(config.goodput),
            "percentiles": list(config.metric_percentiles),
            "started": self.started_at.isoformat(timespec="seconds"),
        }

    # --- during
    # --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The users are on their way: go as soon as they are there."""
        assert self.coordinator is not None
        self.audit.begin()
        self.live.begin()
        self._feed.start()
        if self.config.probe_request_rate > 0:
            session = Session(self.environment, wire_config(self.config, self._key))
            self.prober = Prober(session, self.config.probe_request_rate)
        self.coordinator.start()

    def progress(self) -> Progress:
        """How far the run is."""
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
        self.store.add(columns)
        self._failed += len(columns) - int(np.count_nonzero(columns.success))
        self._feed.columns(columns)
        if self._bar is not None:
            self._bar.update(len(columns))

    def _on_figures(self, worker: WorkerState) -> None:
        assert self.coordinator is not None
        figures = worker.figures
        send_lag = np.frombuffer(figures["send_lag_s"], np.float64)
        loop_lag = np.frombuffer(figures["loop_lag_s"], np.float64)
        self.audit.report(worker.id, send_lag, loop_lag, figures, worker.cpu_start, worker.cpu_last)
        self._feed.figures(figures)

    def _totals(self) -> dict[str, Any]:
        assert self.coordinator is not None
        states = [w.figures for w in self.coordinator.workers.values() if w.figures and not w.lost]
        ledger = self.coordinator.ledger
        return {
            "start_s": self.coordinator.start_s,
            "offered": sum(s["offered"] for s in states),
            "sent": ledger.sent_count,
            "completed": ledger.done_count,
            "in_flight": sum(s["in_flight"] for s in states),
            "waiting": sum(s["waiting"] for s in states),
            "token_events": sum(s["token_events"] for s in states),
            "cpu": self.audit.cpu(),
        }

    # --- after
    # ---------------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stopped before its end: gather what there is."""
        if self.coordinator is not None and not self.finished.is_set():
            self.interrupted = True
            self.coordinator.interrupt()

    def close(self) -> RecordColumns:
        """The run is over: stop the profiler, read the server's counters; returns all outcomes, in
        the order of the plan.
        """
        if self.coordinator is not None:
            self.coordinator.finish()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._feed.stop()
        self.audit.end()
        if self.prober is not None:
            self.prober.stop()
        if self._profiling:
            say("Stopping profiler...")
            if error := self.server.profile("stop"):
                say(f"--vllm-profile: the server did not stop its profiler ({error})")
        if self._spec_before is not None:
            self.spec_decode = spec_decode_between(
                self._spec_before, parse_spec_decode(self.server.metrics_text())
            )
        return self.store.columns()

    def probe_figures(self) -> dict[str, Any] | None:
        """vLLM's keys for the probe requests, None when there were none."""
        return self.prober.figures() if self.prober is not None else None

    @property
    def start_s(self) -> float:
        """Start of the arrivals, seconds of perf_counter; NaN before."""
        return self.coordinator.start_s if self.coordinator is not None else float("nan")


def server_of(config: RunConfig) -> Server:
    """Control requests to the server of ``config``."""
    key = api_key_for(config)
    return Server(config.base_url, config.header, key, insecure=config.insecure)
