"""The worker's side of a run: takes the plan and the tickets, sends the requests, reports what
happened.

One `Agent` a process (in local mode, beside the coordinator in the same one). It speaks by Locust's
messages only, and by its own clock: the master converts.
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import gevent
from gevent.event import Event

from llmbench_locust.dispatch import messages, tickets
from llmbench_locust.dispatch.clock_sync import clock_identity
from llmbench_locust.dispatch.collector import SteeredCollector
from llmbench_locust.dispatch.dispatcher import Dispatcher
from llmbench_locust.dispatch.lag import LagSampler, run_queue_wait_s
from llmbench_locust.dispatch.preparer import Preparer
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.errors import SetupError
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.transport.client import Transport
from llmbench_locust.transport.gaps import gaps
from llmbench_locust.users.session import Session, transport_for
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.multi_turn import next_request

#: At most this long between two reports to the master.
REPORT_S = 0.2
#: At most so many requests in one of them, and how long it takes to make it, about.
REPORTED = 32
REPORTING_S = 0.0007

Send = Callable[[str, Any], None]


class Agent:
    """Carries out one plan after another. ``send(type, data)`` goes to the master; ``secrets`` fills
    in what a plan leaves to the worker, and raises SetupError where it cannot.
    """

    def __init__(
        self,
        environment: Any,
        send: Send,
        name: str,
        secrets: Callable[[WireConfig], WireConfig] = lambda wire: wire,
    ) -> None:
        self.environment = environment
        self.name = name
        self._secrets = secrets
        self._send = send
        self.run: _Run | None = None
        self._open = Event()  # a run is on, or the users may go
        self._released = False
        self._transport: Transport | None = None
        self._server: tuple[Any, ...] = ()

    def handle(self, kind: str, data: dict[str, Any]) -> None:
        """One message from the master. A message of another run than the current one is dropped."""
        if kind == messages.PLAN:
            if self.run is not None:
                self.run.close()
            try:
                wire = self._secrets(WireConfig.from_message(data["wire"]))
            except SetupError as e:
                self.run = None
                self.send(messages.READY, run=data["run"], refused=str(e))
                return
            self.run = _Run(self, data, wire)
            self._released = False
            self._open.set()
            return
        run = self.run
        if run is None or data.get("run") != run.id:
            return
        run.handle(kind, data)

    def attend(self, user: Any) -> None:
        """A user stands ready for tickets, from one run to the next, until the test stops."""
        while not self._released:
            if self.run is not None and not self.run.closed:
                self.run.dispatcher.attend(user)
            else:
                self._open.clear()
                self._open.wait()

    def release(self) -> None:
        """The test stops: in-flight requests end as interrupted, the users' tasks return."""
        if self.run is not None:
            self.run.close()
        self._released = True
        self._open.set()

    def leave(self) -> None:
        """The test is over, or this process ends: close the connections."""
        self.release()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def transport(self, wire: WireConfig) -> Transport:
        """Connections to the server of ``wire``: those of the run before, where it had the same."""
        server = (wire.base_url, wire.insecure, wire.kernel_timestamps, wire.request_timeout_s)
        if self._transport is not None and server != self._server:
            self._transport.close()
            self._transport = None
        if self._transport is None:
            self._transport, self._server = transport_for(wire), server
        return self._transport

    def send(self, kind: str, **data: Any) -> None:
        self._send(kind, data)


class _Run:
    """One run on this worker."""

    def __init__(self, agent: Agent, plan: dict[str, Any], wire: WireConfig) -> None:
        self.id: str = plan["run"]
        self.agent = agent
        self.closed = False
        transport = agent.transport(wire)
        self.session = Session(agent.environment, wire, agent.name, transport)
        self._before = replace(transport.counters)
        self.dispatcher = Dispatcher(self._perform, permits=plan["permits"], wanted=self._wake)
        self._conversations = plan["chat"]
        self._outbox: list[RequestRecord] = []
        self._unsent: list[int] = []
        self._unacknowledged: dict[int, dict[str, Any]] = {}
        self._seq = 0
        self._halted = False
        self._preparer = Preparer(self.session.protocol.request)
        self._lag: LagSampler | None = None
        self._collector: SteeredCollector | None = None
        self._woken = Event()
        self._reporter = gevent.spawn(self._report_loop)
        gevent.spawn(self._prewarm, plan["prewarm"])

    def handle(self, kind: str, data: dict[str, Any]) -> None:
        if kind == messages.TICKETS:
            sent = data["tickets"]
            if sent and not isinstance(sent[0], Ticket):
                sent = [tickets.from_message(message) for message in sent]
            self.dispatcher.add(sent)
            self._preparer.add(sent)
        elif kind == messages.PING:
            self.agent.send(
                messages.PONG, run=self.id, sent_s=data["sent_s"], worker_s=perf_counter()
            )
        elif kind == messages.GO:
            self._lag = LagSampler(lambda: self.dispatcher.in_flight > 0)
            if self._collector is not None:
                self._collector.freeze()
            self.dispatcher.lease(data["lease_s"])
            self.dispatcher.go(data["start_s"])
        elif kind == messages.LEASE:
            self.dispatcher.lease(data["until_s"])
        elif kind == messages.PERMITS:
            if "grant" in data:
                self.dispatcher.grant(data["grant"])
            else:
                self.agent.send(
                    messages.RETURNED,
                    run=self.id,
                    permits=self.dispatcher.give_back(data["recall"]),
                )
        elif kind == messages.ACK:
            self._unacknowledged.pop(data["seq"], None)
        elif kind == messages.HALT:
            self._halt()
            self._wake()
        elif kind == messages.STOP:
            self.close()

    # --- requests
    # ------------------------------------------------------------------------------------------------

    def _prewarm(self, connections: int) -> None:
        opened = self.session.transport.prewarm(connections)
        # Now, and not at the start: a full collection takes tenths of a second.
        self._collector = SteeredCollector()
        self.agent.send(
            messages.READY,
            run=self.id,
            clock=clock_identity(),
            prewarmed=opened,
            pid=os.getpid(),
            host=socket.gethostname(),
        )

    def _perform(self, ticket: Ticket, due: float, user: Any) -> None:
        request = self._preparer.take(ticket)
        record = self.session.perform(
            ticket.sample,
            index=ticket.index,
            model=ticket.model,
            request=request,
            due_time=due,
            user=user,
        )
        if ticket.following:
            self._next_turn(ticket, record)
        self._outbox.append(record)

    def _next_turn(self, ticket: Ticket, record: RequestRecord) -> None:
        following = list(ticket.following)
        if self._halted or not record.success:
            # A conversation whose answer failed has no history to go on with.
            self._unsent.extend(t.index for t in following)
            return
        turn = following.pop(0)
        sample = next_request(ticket.sample, record.text, turn.sample, None, self._conversations)
        following_ticket = Ticket(
            turn.index, turn.due_s, sample, turn.model, turn.think_s, following
        )
        self.dispatcher.add_turn(following_ticket, perf_counter() + turn.think_s)

    # --- reports
    # -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._woken.set()

    def _report_loop(self) -> None:
        while not self.closed:
            self._woken.wait(REPORT_S)
            self._woken.clear()
            gaps.wait(REPORTING_S)
            self._report()
            while len(self._outbox) >= REPORTED:
                # In pieces: what falls due meanwhile must not wait for all of them.
                gevent.sleep(0.001)
                gaps.wait(REPORTING_S)
                self._report()

    def _report(self) -> None:
        dispatcher, counters = self.dispatcher, self.session.transport.counters
        records, self._outbox = self._outbox[:REPORTED], self._outbox[REPORTED:]
        sent, dispatcher.sent = dispatcher.sent, array("q")
        late, dispatcher.send_lag_s = dispatcher.send_lag_s, array("d")
        unsent, self._unsent = self._unsent, []
        ttft, self.session.ttft_s = self.session.ttft_s, array("d")
        report = {
            "run": self.id,
            "seq": self._seq,
            "records": RecordColumns.from_records(records).to_message() if records else None,
            "sent": sent.tobytes(),
            "unsent": unsent,
            "halted": self._halted,
            "in_flight": dispatcher.in_flight,
            "waiting": dispatcher.waiting,
            "stock": dispatcher.stock,
            "permits": dispatcher.permits,
            "free": dispatcher.free_permits,
            "offered": dispatcher.offered,
            "overflow": dispatcher.overflow,
            "resent": counters.resent - self._before.resent,
            "kernel_times": counters.kernel_times,
            "most_connections": counters.most_connections,
            "most_in_use": counters.most_in_use,
            "idle_excess_s": counters.idle_excess_s - self._before.idle_excess_s,
            "queue_wait_s": run_queue_wait_s(),
            "shared_chunks": counters.shared_chunks - self._before.shared_chunks,
            "token_events": counters.token_events - self._before.token_events,
            "ttft_s": ttft.tobytes(),
            "send_lag_s": late.tobytes(),
            "loop_lag_s": self._lag.take().tobytes() if self._lag is not None else b"",
            "cpu_s": time.process_time(),
            "clock_s": perf_counter(),
        }
        if records or len(sent) or unsent:
            self._unacknowledged[self._seq] = report
        self._seq += 1
        self.agent.send(messages.REPORT, **report)

    # --- the end
    # -------------------------------------------------------------------------------------------------

    def _halt(self) -> None:
        self._halted = True
        self._unsent.extend(self.dispatcher.halt())

    def close(self) -> None:
        """Break off what is in flight, report it, let the users go."""
        if self.closed:
            return
        self._halt()
        self._unsent.extend(self.dispatcher.close())
        self._preparer.close()
        if self._lag is not None:
            self._lag.close()
        if self._collector is not None:
            self._collector.close()
        for report in list(self._unacknowledged.values()):
            self.agent.send(messages.REPORT, **report)
        self._report()
        while self._outbox:
            self._report()
        self.closed = True
        self._reporter.kill(block=False)
