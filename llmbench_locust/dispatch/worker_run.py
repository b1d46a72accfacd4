"""One run on a worker: sends the requests of its tickets, or of its users' own tasks, and reports
the outcomes. Times are on its own clock; the master converts them.
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import gevent
import numpy as np
from gevent.event import Event
from locust import User

from llmbench_locust.dispatch import messages
from llmbench_locust.dispatch.clock_sync import clock_identity
from llmbench_locust.dispatch.collector import SteeredCollector
from llmbench_locust.dispatch.dispatcher import Dispatcher
from llmbench_locust.dispatch.lag import LagSampler, run_queue_wait_s
from llmbench_locust.dispatch.messages import Message, Plan, Report
from llmbench_locust.dispatch.own_tasks import OwnTasks
from llmbench_locust.dispatch.preparer import Preparer
from llmbench_locust.dispatch.reports import Outbox, Seen
from llmbench_locust.dispatch.tickets import Play, Ticket
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.users.replicas import Replicas
from llmbench_locust.users.session import PlanEntry, Session
from llmbench_locust.workload.sample import SampleRequest

#: Maximum time between two reports to the master.
REPORT_S = 0.2
#: Maximum number of requests in one report, and the approximate time to make it.
REPORTED = 32
REPORTING_S = 0.0007
#: After a run, its last reports are resent for at most this long.
LINGER_S = 60.0


class WorkerRun:
    """``servers``: the worker's connections. ``worker``: its name. ``send``: to the master."""

    def __init__(
        self,
        environment: object,
        plan: Plan,
        servers: Replicas,
        worker: str,
        send: Callable[[Message], None],
    ) -> None:
        self.id = plan.run
        self.tasks = plan.tasks
        self.closed = False
        self._plan = plan
        self._send = send
        self._servers = servers
        self._gaps = servers.gaps
        self._before = replace(servers.counters)
        self._sessions = {
            wire.backend: Session(environment, wire, worker, servers) for wire in plan.wires
        }
        self._session = self._sessions[plan.wires[0].backend]
        self._source = self._make_source(plan)
        self._preparer = Preparer(self._session.protocol.request, self._gaps)
        self._records: list[RequestRecord] = []
        self._unsent: list[int] = []
        self._plays: set[Play] = set()
        self._outbox, self._seen = Outbox(send), Seen()
        self._halted = False
        self._lag: LagSampler | None = None
        self._collector: SteeredCollector | None = None
        self._woken = Event()
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            messages.Tickets: self._on_tickets,
            messages.Ping: lambda m: send(messages.Pong(self.id, m.sent_s, perf_counter())),
            messages.Go: self._on_go,
            messages.Lease: lambda m: self._source.lease(m.until_s),
            messages.Grant: self._on_grant,
            messages.Recall: self._on_recall,
            messages.Ack: lambda m: self._outbox.acknowledged(m.seq),
            messages.Halt: lambda m: self._halt(),
            messages.Stop: lambda m: self.close(),
        }
        self._reporter = gevent.spawn(self._report_loop)
        gevent.spawn(self._get_ready)

    def _make_source(self, plan: Plan) -> Dispatcher | OwnTasks:
        if plan.tasks:
            return OwnTasks()
        return Dispatcher(
            self._perform,
            permits=plan.permits,
            wanted=self._wake,
            sessions=plan.sessions,
            gaps=self._gaps,
        )

    # --- messages

    def receive(self, message: Message) -> None:
        if isinstance(message, messages.Numbered) and message.seq >= 0:
            self._send(messages.Arrived(self.id, message.seq))
            if not self._seen.add(message.seq):
                return
        self._handlers[type(message)](message)

    def _on_tickets(self, message: messages.Tickets) -> None:
        self._unsent.extend(self._source.add(message.tickets))
        if not self._halted:
            self._preparer.add(message.tickets)

    def _on_go(self, message: messages.Go) -> None:
        if not self.tasks:  # own tasks wait for Locust's users, whose start blocks the loop
            self._lag = LagSampler(lambda: self._source.in_flight > 0)
        if self._collector is not None:
            self._collector.freeze()
        self._source.lease(message.lease_s)
        self._source.go(message.start_s)

    def _on_grant(self, message: messages.Grant) -> None:
        if isinstance(self._source, Dispatcher):
            self._source.grant(message.permits)

    def _on_recall(self, message: messages.Recall) -> None:
        if isinstance(self._source, Dispatcher):
            self._outbox.send(messages.Returned(self.id, self._source.give_back(message.permits)))

    # --- requests

    def _get_ready(self) -> None:
        opened = self._servers.prewarm(self._plan.prewarm)
        # Now, not at the start: a full collection takes tenths of a second.
        self._collector = SteeredCollector(self._gaps)
        host = socket.gethostname()
        self._send(messages.Ready(self.id, clock_identity(), opened, os.getpid(), host))

    def attend(self, user: object) -> None:
        """A user takes tickets until the run is over."""
        if isinstance(self._source, Dispatcher):
            self._source.attend(user)

    def _perform(self, ticket: Ticket, due: float, user: object) -> None:
        assert isinstance(self._source, Dispatcher)
        request = self._preparer.take(ticket)
        play = ticket.play or (self._begin(ticket) if ticket.following else None)
        then = partial(self._go_on, play, ticket) if play is not None else None
        entry = PlanEntry(ticket.index, ticket.model, request, due, then)
        record = self._session.perform(ticket.sample, entry, user=user)
        if play is None:
            self._source.session_ended()
        self._records.append(record)

    def _begin(self, ticket: Ticket) -> Play:
        """Start a session: its first request, and those that wait for no other."""
        play = Play(ticket, self._plan.chat)
        self._plays.add(play)
        now = perf_counter()
        self._add_turns([(root, now + root.think_s) for root in play.roots()])
        return play

    def _go_on(self, play: Play, ticket: Ticket, record: RequestRecord) -> None:
        assert isinstance(self._source, Dispatcher)
        if record.success:
            text, end_s = record.text, record.end_time
            self._add_turns(play.answered(ticket, end_s, text, record.due_time))
        else:
            self._unsent.extend(play.failed(ticket))
        if play.over:
            self._plays.discard(play)
            self._session.forget(ticket.sample.conversation)
            self._source.session_ended()

    def _add_turns(self, turns: list[tuple[Ticket, float]]) -> None:
        assert isinstance(self._source, Dispatcher)
        if self._halted:
            self._unsent.extend(turn.index for turn, _ in turns)
        elif turns:
            self._source.add_turns(turns)
            now = perf_counter()
            self._preparer.add((turn for turn, due_s in turns if due_s > now), turns=True)

    def send(self, sample: SampleRequest, user: User) -> RequestRecord:
        """One request of a user's own task; without an outcome if the user is stopped meanwhile."""
        assert isinstance(self._source, OwnTasks)
        self._lag = self._lag or LagSampler(lambda: self._source.in_flight > 0)
        session = self._sessions[user.backend or self._session.wire.backend]
        index = self._source.begin()
        if not sample.request_id:
            worker = f"{session.worker}-" if session.worker else ""
            sample.request_id = f"{self._plan.id_prefix}{worker}{index}"
        try:
            record = session.perform(sample, PlanEntry(index), user=user, give_up=True)
        except BaseException:
            self._unsent.append(index)
            raise
        finally:
            self._source.end()
        if not record.prompt_len and record.input_tokens > 0:
            record.prompt_len = record.input_tokens
        self._records.append(record)
        return record

    # --- reports

    def _wake(self) -> None:
        self._woken.set()

    def _report_loop(self) -> None:
        while not self.closed:
            self._woken.wait(REPORT_S)
            self._woken.clear()
            self._gaps.wait(REPORTING_S)
            self._report()
            # In pieces, so that requests that become due need not wait for all of them. If nothing
            # is in flight, also the last piece, because the run may wait for it.
            while len(self._records) >= (REPORTED if self._source.in_flight else 1):
                gevent.sleep(0.001)
                self._gaps.wait(REPORTING_S)
                self._report()
            self._outbox.send_again(perf_counter())
        deadline = perf_counter() + LINGER_S
        while self._outbox and perf_counter() < deadline:
            gevent.sleep(REPORT_S)
            self._outbox.send_again(perf_counter())

    def _report(self, *, closed: bool = False) -> None:
        source, counters = self._source, self._servers.counters
        records, self._records = self._records[:REPORTED], self._records[REPORTED:]
        sent, source.sent = source.sent, array("q")
        late, source.send_lag_s = source.send_lag_s, array("d")
        unsent, self._unsent = self._unsent, []
        ttft = np.concatenate([np.frombuffer(s.take_ttft()) for s in self._sessions.values()])
        report = Report(
            run=self.id,
            seq=-1,
            in_flight=source.in_flight,
            waiting=source.waiting,
            free=source.free_permits,
            offered=source.offered,
            overflow=source.overflow,
            resent=counters.resent - self._before.resent,
            kernel_times=counters.kernel_times,
            reader=counters.reader,
            most_connections=counters.most_connections,
            most_in_use=counters.most_in_use,
            idle_excess_s=counters.idle_excess_s - self._before.idle_excess_s,
            queue_wait_s=run_queue_wait_s(),
            lapsed_s=source.lapsed_s,
            shared_chunks=counters.shared_chunks - self._before.shared_chunks,
            token_events=counters.token_events - self._before.token_events,
            cpu_s=time.process_time(),
            clock_s=perf_counter(),
            closed=closed,
            records=RecordColumns.from_records(records) if records else None,
            sent=np.frombuffer(sent, np.int64),
            unsent=np.array(unsent, np.int64),
            ttft_s=ttft,
            send_lag_s=np.frombuffer(late),
            loop_lag_s=np.frombuffer(self._lag.take() if self._lag is not None else b""),
        )
        self._outbox.send(report)

    # --- the end

    def _halt(self) -> None:
        self._halted = True
        self._unsent.extend(self._source.halt())
        for play in self._plays:
            self._unsent.extend(play.stop())
        self._wake()

    def leave(self) -> None:
        """This process leaves the run. What it has not begun is not reported: it goes to others."""
        if not self.closed:
            self._source.drop()
            self.close()

    def close(self) -> None:
        """Abort requests in flight, report them, release the users."""
        if self.closed:
            return
        self._halt()
        self._unsent.extend(self._source.close())
        self._preparer.close()
        if self._lag is not None:
            self._lag.close()
        if self._collector is not None:
            self._collector.close()
        while len(self._records) > REPORTED:
            self._report()
        self.closed = True
        self._report(closed=True)

    def forget(self) -> None:
        """Another run begins: drop the last reports that are not acknowledged yet."""
        self._reporter.kill(block=False)
