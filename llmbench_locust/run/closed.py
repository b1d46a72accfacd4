"""Closed loop: users with tasks of their own, no plan. The same records, the same metrics.

Each process keeps a session for each backend that its users speak; outcomes go to the master twice
a second.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np

from llmbench_locust.dispatch.clock_sync import clock_identity
from llmbench_locust.errors import BenchError
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.options.config import RunConfig, build_config, start_of
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.run.control_api import Server
from llmbench_locust.run.report import Report, make_closed_report
from llmbench_locust.run.wiring import api_key_for, wire_config
from llmbench_locust.users.session import Session
from llmbench_locust.workload.sample import SampleRequest

if TYPE_CHECKING:
    from llmbench_locust.plugin import Plugin
    from llmbench_locust.users.user import BackendUser

RECORDS = "llmbench_closed_records"  # worker → master
FLUSH = "llmbench_closed_flush"  # master → worker
REPORT_S = 0.5


class ClosedLoop:
    """The sending and the gathering side; in local mode both."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._sessions: dict[str, Session] = {}
        self._config: RunConfig | None = None
        self._outbox: list[RequestRecord] = []
        self._sent = 0
        self._spoken: set[str] = set()
        self._reporter: gevent.Greenlet | None = None
        self._store: RecordStore | None = None
        self._started_s = 0.0
        self._started_at = datetime.now()
        self._flushed: set[str] = set()
        self._begun: dict[str, int] = {}
        self.report: Report | None = None

    def register(self) -> None:
        plugin, events = self.plugin, self.plugin.environment.events
        if plugin.local or plugin.is_worker:
            plugin.runner.register_message(
                FLUSH, lambda environment, msg, **_: self._flush(last=True)
            )
        if not plugin.is_worker:
            plugin.runner.register_message(
                RECORDS, lambda environment, msg, **_: self._gather(msg.node_id, msg.data)
            )
        events.test_start.add_listener(self._on_test_start)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)

    # --- sending
    # -------------------------------------------------------------------------------------------------

    def send(self, sample: SampleRequest, user: BackendUser) -> RequestRecord:
        """One request of a user's own task."""
        session = self._session(user)
        index = self._sent
        self._sent += 1
        if not sample.request_id:
            assert self._config is not None
            sample.request_id = f"{self._config.request_id_prefix}{session.worker}{'-' if session.worker else ''}{index}"
        if self._reporter is None:
            self._reporter = gevent.spawn(self._report_loop)
        # A user that is stopped in the middle of a request: Locust counts no such request, nor do
        # we.
        record = session.perform(sample, index=index, user=user, give_up=True)
        if not record.prompt_len and record.input_tokens > 0:
            record.prompt_len = record.input_tokens
        self._outbox.append(record)
        return record

    def _session(self, user: BackendUser) -> Session:
        name = user.backend or self._configure().backend
        self._spoken.add(name)
        session = self._sessions.get(name)
        if session is None:
            config = self._for_backend(self._configure(), name)
            worker = self.plugin.agent.name if self.plugin.is_worker else ""
            key = api_key_for(config)
            if config.model is None:
                server = Server(config.base_url, config.header, key, insecure=config.insecure)
                config = replace(config, model=server.models()[0])
                self._config = replace(self._configure(), model=config.model)
            wire = replace(wire_config(config, key), keep_text=True)
            # Another user may have come first while the server was asked.
            session = self._sessions.setdefault(
                name, Session(self.plugin.environment, wire, worker)
            )
        return session

    def _configure(self) -> RunConfig:
        if self._config is None:
            options, own = self.plugin.options, self.plugin.start
            # A worker follows its master's options, with header values of its own.
            start = replace(start_of(options), headers=own.headers if own else ())
            self._config = self.plugin.config or build_config(options, start)
        return self._config

    def _for_backend(self, config: RunConfig, name: str) -> RunConfig:
        if name == config.backend:
            return config
        from llmbench_locust.backends import backend_info

        info = backend_info(name)
        return replace(config, backend=name, backend_info=info, endpoint=info.endpoint)

    def _report_loop(self) -> None:
        while True:
            gevent.sleep(REPORT_S)
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        records, self._outbox = self._outbox, []
        if not records and not last:
            return
        data = {
            "records": RecordColumns.from_records(records).to_message() if records else None,
            "clock": clock_identity(),
            "pid": os.getpid(),
            "wall_minus_clock_s": time.time() - perf_counter(),
            "last": last,
            "spoken": sorted(self._spoken),
        }
        self.plugin.runner.send_message(RECORDS, data)

    # --- gathering
    # -----------------------------------------------------------------------------------------------

    def _gather(self, node: str, data: dict[str, Any]) -> None:
        self._spoken.update(data["spoken"])
        if data["last"]:
            self._flushed.add(node)
        if data["records"] is None or self._store is None:
            return
        columns = RecordColumns.from_message(data["records"])
        if data["clock"] != clock_identity() or not data["clock"]:
            columns.shift_times(data["wall_minus_clock_s"] - (time.time() - perf_counter()))
        # Each worker counts from 0: the run's own index is the order in which outcomes came.
        have = self._begun.get("", 0)
        columns.ints["index"] = np.arange(have, have + len(columns), dtype=np.int64)
        self._begun[""] = have + len(columns)
        self._store.add(columns)
        self.plugin.live.add(columns)

    def _on_test_start(self, **_: Any) -> None:
        if self.plugin.open_loop:
            return
        self._config = None
        if self.plugin.is_worker:
            return
        try:
            self._config = self.plugin.configure()
        except BenchError as e:
            self.plugin.fail(e)
            return
        self._store = RecordStore(max_exact_tokens=self._config.max_exact_tokens)
        self._started_s, self._started_at = perf_counter(), datetime.now()
        self._begun, self._flushed = {}, set()
        self.plugin.live.reset(
            {
                "backend": self._config.backend,
                "kind": self._config.backend_info.kind,
                "base_url": self._config.base_url,
                "goodput_ms": dict(self._config.goodput),
                "percentiles": list(self._config.metric_percentiles),
                "closed_loop": True,
            }
        )
        self.plugin.live.begin()

    def _on_test_stopping(self, **_: Any) -> None:
        if self.plugin.open_loop:
            return
        if self.plugin.local or self.plugin.is_worker:
            self._flush(last=True)
            return
        nodes = {
            client.id for client in self.plugin.runner.clients.all if client.state != "missing"
        }
        self.plugin.runner.send_message(FLUSH, None)
        deadline = perf_counter() + 3.0
        while not nodes <= self._flushed and perf_counter() < deadline:
            gevent.sleep(0.01)

    def _on_test_stop(self, **_: Any) -> None:
        if self._reporter is not None:
            self._reporter.kill(block=False)
            self._reporter = None
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        store, self._store = self._store, None
        spoken = sorted(self._spoken)
        if store is None or self.plugin.open_loop:
            return
        columns = store.columns()
        if len(columns):
            config = (
                self._for_backend(self._configure(), spoken[0])
                if len(spoken) == 1
                else self._configure()
            )
            report = make_closed_report(
                config, columns, self._started_s, self._started_at, store.folded
            )
            self.report = report
            self.plugin.live.finish(report.document, report.audit)
            report.publish()
        else:
            self.plugin.live.finish(None, None)
