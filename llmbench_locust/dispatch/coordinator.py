"""The master's side of a run: tickets out, records in, one clock, one cap, nothing lost and nothing
twice.

Locust's messages are its only way out; in local mode they are delivered in the process. A worker
may start requests only under a lease, renewed several times a second: one that is cut off stops by
itself before its tickets go to others.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from llmbench_locust.dispatch import messages, tickets
from llmbench_locust.dispatch.backlog import PlannedTickets, RunPlan
from llmbench_locust.dispatch.clock_sync import ClockOffset, clock_identity
from llmbench_locust.dispatch.ledger import Indexes, Ledger
from llmbench_locust.dispatch.permits import Permits, split
from llmbench_locust.errors import SetupError
from llmbench_locust.records import RecordColumns

logger = logging.getLogger(__name__)

#: At most so long between two looks at the run; workers' reports bring the next one forward.
TURN_S = 0.2
#: A worker may start requests for so long after the master last heard of it.
LEASE_S = 1.5
#: Silence after which a worker's lease is no longer renewed.
SILENT_S = 1.0
#: Past the end of its lease a worker is given so long before it counts as lost.
GRACE_S = 0.25
READY_S = 60.0
#: How far ahead of their time tickets are delivered, and at most how many and how much to one
#: worker.
AHEAD_S = 20.0
WINDOW = 4096
WINDOW_BYTES = 64_000_000


@dataclass(slots=True)
class WorkerState:
    """What the master knows of one worker. Times are the master's."""

    number: int
    id: str
    ready: bool = False
    going: bool = False
    lost: bool = False
    halted: bool = False
    clock: ClockOffset = field(default_factory=ClockOffset)
    pid: int = 0
    host: str = ""
    prewarmed: int = 0
    refused: str = ""
    heard_s: float = 0.0
    lease_until_s: float = float("-inf")
    seen: set[int] = field(default_factory=set)
    figures: dict[str, Any] = field(default_factory=dict)
    cpu_start: tuple[float, float] | None = None
    cpu_last: tuple[float, float] | None = None


class Coordinator:
    """Conducts one run.

    ``send(kind, data, worker id)``; ``workers()``: ids of the workers that are connected;
    ``local``: they are in this process. ``on_columns`` is given each batch of outcomes once (times
    on the master's clock); ``on_figures`` each worker's report.
    """

    def __init__(
        self,
        plan: RunPlan,
        *,
        send: Callable[[str, dict[str, Any], str], None],
        workers: Callable[[], list[str]],
        local: bool,
        on_columns: Callable[[RecordColumns], None],
        on_figures: Callable[[WorkerState], None] = lambda worker: None,
        done: Event | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.plan = plan
        self.local = local
        self._send = send
        self._connected = workers
        self._on_columns = on_columns
        self._on_figures = on_figures
        self.workers: dict[str, WorkerState] = {}
        self._tickets = PlannedTickets(plan)
        self.ledger = Ledger(self._tickets.weights)
        self._permits = Permits(plan.cap) if plan.cap is not None else None
        self._invited = 0
        self.done = done or Event()
        self.start_s = float("nan")
        self.halted = False
        self._interrupting = False
        self._halted_s = 0.0
        self.workers_lost = 0
        self._conductor: gevent.Greenlet | None = None
        self._woken = Event()

    # --- the run
    # -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Tell the workers the plan, wait until each is ready, find its clock, deliver the first
        tickets.

        Raises SetupError when no worker answers.
        """
        ids = self._connected()
        shares = (
            split(self.plan.cap, len(ids)) if self.plan.cap is not None and ids else [0] * len(ids)
        )
        for worker_id, share in zip(ids, shares, strict=True):
            self._invite(worker_id, share, len(ids))
        deadline = perf_counter() + READY_S
        while not all(w.ready for w in self.workers.values()) and perf_counter() < deadline:
            for worker in self.workers.values():
                if worker.refused:
                    raise SetupError(f"worker {worker.id} cannot take part: {worker.refused}")
            gevent.sleep(0.005)
        for worker in [w for w in self.workers.values() if not w.ready]:
            logger.warning(
                "worker %s did not get ready within %g s: it takes no part", worker.id, READY_S
            )
            self._forget(worker)
        if not self.workers:
            raise SetupError("no worker is ready to send requests")
        self._find_clocks(list(self.workers.values()))
        self._feed(0.0)

    def start(self) -> None:
        """Start the clock and see the run through; `done` is set at its end."""
        self._conductor = gevent.spawn(self._conduct)

    def _conduct(self) -> None:
        slack = (
            0.02
            if self.local
            else 0.1 + 4 * max(min(w.clock.error_s, 1.0) for w in self.workers.values())
        )
        self.start_s = perf_counter() + slack
        for worker in self.workers.values():
            self._go(worker)
        renewed = perf_counter()
        while not self.ledger.finished:
            self._woken.wait(self._pause_s(perf_counter()))
            self._woken.clear()
            now = perf_counter()
            if now - renewed > 0.15:
                renewed = now
                self._renew(now)
                self._join_late()
            self._feed(now - self.start_s)
            self._balance()
            self._watch_time(now)
        self.finish()

    def finish(self) -> None:
        """Let the workers go; `done` from now on."""
        if not self.done.is_set():
            self.done.set()
            self._to_all(messages.STOP)

    def halt(self) -> None:
        """Send nothing more; what is in flight goes on."""
        if not self.halted:
            self.halted = True
            self._halted_s = perf_counter()
            self._tickets.drop()
            self.ledger.cancel()
            self._to_all(messages.HALT)
            self._woken.set()

    def interrupt(self, timeout_s: float = 5.0) -> None:
        """Break the run off: in-flight requests end as interrupted, the last reports are awaited."""
        if self.done.is_set():
            return
        if self._interrupting:
            # Whoever comes second must not report before the first has accounted for everything.
            self.done.wait(2 * timeout_s)
            return
        self._interrupting = True
        if self._conductor is not None:
            self._conductor.kill(block=False)
        self.halt()
        self._to_all(messages.STOP)
        deadline = perf_counter() + timeout_s
        while not self.ledger.finished and perf_counter() < deadline and self._alive():
            gevent.sleep(0.01)
        for worker in self._alive():
            failed, _ = self.ledger.lose(worker.number, np.ones(self.plan.total, np.bool_))
            self._fail(failed, worker, "interrupted; its worker reported no outcome", "interrupted")
        self.done.set()

    # --- messages from workers
    # -----------------------------------------------------------------------------------

    def handle(self, kind: str, worker_id: str, data: dict[str, Any]) -> None:
        """One message from a worker; one of another run or of a worker that counts as lost is
        dropped.
        """
        worker = self.workers.get(worker_id)
        if worker is None or data.get("run") != self.id:
            return
        now = perf_counter()
        if worker.lost:
            return
        worker.heard_s = now
        if kind == messages.READY and data.get("refused"):
            worker.refused = data["refused"]
        elif kind == messages.READY:
            worker.ready, worker.prewarmed = True, data["prewarmed"]
            worker.pid, worker.host = data["pid"], data["host"]
            if data["clock"] and data["clock"] == clock_identity():
                worker.clock.same_clock()
        elif kind == messages.PONG:
            worker.clock.measured(data["sent_s"], data["worker_s"], now)
        elif kind == messages.RETURNED:
            if self._permits is not None:
                self._permits.returned(worker.number, data["permits"])
                self._balance()
        elif kind == messages.REPORT:
            self._report(worker, data)

    def _report(self, worker: WorkerState, data: dict[str, Any]) -> None:
        self._tell(worker, messages.ACK, seq=data["seq"])
        if data["seq"] in worker.seen:
            return
        worker.seen.add(data["seq"])
        self.ledger.send(worker.number, np.frombuffer(data["sent"], np.int64))
        if data["records"] is not None:
            self._outcomes(worker, RecordColumns.from_message(data["records"]))
        if data["unsent"]:
            self.ledger.never(worker.number, np.array(data["unsent"], np.int64))
        if self._permits is not None:
            holder = self._permits.holders[worker.number]
            holder.free, holder.waiting = data["free"], data["waiting"]
            self._balance()
        worker.halted = data["halted"]
        if worker.going:
            worker.cpu_last = (data["cpu_s"], data["clock_s"])
            if worker.cpu_start is None:
                worker.cpu_start = worker.cpu_last
        worker.figures = data
        self._on_figures(worker)
        self._woken.set()

    def _outcomes(self, worker: WorkerState, columns: RecordColumns) -> None:
        columns.shift_times(-worker.clock.offset_s)
        counted = self.ledger.finish(worker.number, columns.ints["index"])
        if len(counted) != len(columns):
            rows = np.flatnonzero(np.isin(columns.ints["index"], counted))
            columns = columns.take(rows)
        self._on_columns(columns)

    # --- tickets
    # -------------------------------------------------------------------------------------------------

    def _feed(self, now_s: float) -> None:
        """Deliver what is due before ``now_s`` + AHEAD_S, worker by worker in turn, within each
        worker's window.
        """
        takers = {w.number: w for w in self._alive() if w.ready}
        until_s = now_s + AHEAD_S
        for number, batch in self._tickets.batches(
            until_s, list(takers), lambda n: self._has_room(takers[n]), self.ledger.deliver
        ):
            carried = batch if self.local else [tickets.to_message(t) for t in batch]
            self._tell(takers[number], messages.TICKETS, tickets=carried)

    def _has_room(self, worker: WorkerState) -> bool:
        if self.local:
            return True
        window = WINDOW
        if self._permits is not None and len(self.workers) > 1:
            # Few, so that a lost worker leaves few behind of which nobody knows whether they were
            # sent.
            held = self._permits.holders[worker.number].held
            window = min(WINDOW, 2 * held + 8) if held else 0
        pending = self.ledger.pending.get(worker.number, 0)
        return pending < window and self.ledger.pending_bytes.get(worker.number, 0) < WINDOW_BYTES

    def _balance(self) -> None:
        if self._permits is None or self.local:
            return
        by_number = {w.number: w for w in self.workers.values()}
        grants, recalls = self._permits.balance()
        for number, permits in grants.items():
            self._tell(by_number[number], messages.PERMITS, grant=permits)
        for number, permits in recalls.items():
            self._tell(by_number[number], messages.PERMITS, recall=permits)

    # --- workers
    # -------------------------------------------------------------------------------------------------

    def _invite(self, worker_id: str, share: int, parts: int) -> None:
        worker = WorkerState(number=self._invited, id=worker_id, heard_s=perf_counter())
        self._invited += 1
        self.workers[worker_id] = worker
        permits = self._permits.join(worker.number, share) if self._permits is not None else None
        self._tell(
            worker,
            messages.PLAN,
            wire=self.plan.wire,
            permits=permits,
            prewarm=-(-self.plan.prewarm // parts),
            chat=self.plan.chat,
        )

    def _find_clocks(self, workers: list[WorkerState]) -> None:
        for _ in range(12):
            far = [w for w in workers if w.clock.error_s > 0]
            if not far:
                return
            for worker in far:
                self._tell(worker, messages.PING, sent_s=perf_counter())
            gevent.sleep(0.01)

    def _go(self, worker: WorkerState) -> None:
        worker.going = True
        worker.lease_until_s = max(self.start_s, perf_counter()) + LEASE_S
        offset = worker.clock.offset_s
        self._tell(
            worker,
            messages.GO,
            start_s=self.start_s + offset,
            lease_s=worker.lease_until_s + offset,
        )

    def _renew(self, now: float) -> None:
        for worker in self._alive():
            if now - worker.heard_s < SILENT_S:
                worker.lease_until_s = now + LEASE_S
                self._tell(
                    worker, messages.LEASE, until_s=worker.lease_until_s + worker.clock.offset_s
                )
                if worker.clock.error_s > 0:
                    self._tell(worker, messages.PING, sent_s=now)
            elif now > worker.lease_until_s + GRACE_S:
                self._lose(worker)
        connected = set(self._connected())
        for worker in self._alive():
            # Locust saw it leave: nothing more comes, but what it may have sent is bounded by its
            # lease all the same.
            if worker.id not in connected and now > worker.lease_until_s + GRACE_S:
                self._lose(worker)

    def _join_late(self) -> None:
        if self.local or self.halted:
            return
        for worker_id in self._connected():
            if worker_id not in self.workers and len(self._alive()) < self.plan.max_workers:
                logger.info("worker %s joins the run", worker_id)
                share = (
                    -(-self.plan.cap // self.plan.max_workers) if self.plan.cap is not None else 0
                )
                self._invite(worker_id, share, self.plan.max_workers)
                gevent.spawn(self._welcome, self.workers[worker_id])

    def _welcome(self, worker: WorkerState) -> None:
        deadline = perf_counter() + READY_S
        while not worker.ready and perf_counter() < deadline and not self.done.is_set():
            gevent.sleep(0.01)
        if worker.ready and not self.done.is_set():
            self._find_clocks([worker])
            self._go(worker)

    def _lose(self, worker: WorkerState) -> None:
        worker.lost = True
        self.workers_lost += 1
        startable = self._tickets.due_s + self.start_s <= worker.lease_until_s
        failed, returned = self.ledger.lose(worker.number, startable)
        logger.error(
            "worker %s is lost: %d requests fail with it, %d go to the others",
            worker.id,
            len(failed),
            len(returned),
        )
        if self._permits is not None:
            self._permits.leave(worker.number)
        self._tell(worker, messages.STOP)
        self._fail(failed, worker, "worker lost before it reported the outcome", "worker_lost")
        self._tickets.take_back(returned)
        if not self._alive():
            self._abandon(worker)
        self._balance()

    def _abandon(self, worker: WorkerState) -> None:
        """No worker is left: what was not sent fails with the last one."""
        left = self._tickets.clear()
        if len(left):
            self.ledger.deliver(worker.number, left)
            self.ledger.finish(worker.number, left)
            self._fail(left, worker, "no worker was left to send it", "worker_lost")

    def _fail(self, indexes: Indexes, worker: WorkerState, error: str, kind: str) -> None:
        records = self._tickets.failed(indexes, worker.id, self.start_s, error, kind)
        if records:
            self._on_columns(RecordColumns.from_records(records))

    def _forget(self, worker: WorkerState) -> None:
        del self.workers[worker.id]
        if self._permits is not None:
            self._permits.leave(worker.number)

    # --- small things
    # --------------------------------------------------------------------------------------------

    def _pause_s(self, now: float) -> float:
        """Until the next turn: sooner where the run's time or the grace after it ends before."""
        plan = self.plan
        end = now
        if not self.halted and plan.run_time_s is not None:
            end = self.start_s + plan.run_time_s
        elif self.halted and plan.stop_timeout_s:
            end = self._halted_s + plan.stop_timeout_s
        return min(TURN_S, end - now) if end > now else TURN_S

    def _watch_time(self, now: float) -> None:
        plan = self.plan
        if (
            not self.halted
            and plan.run_time_s is not None
            and now - self.start_s >= plan.run_time_s
        ):
            self.halt()
        if self.halted and plan.stop_timeout_s and now - self._halted_s > plan.stop_timeout_s:
            self._to_all(messages.STOP)

    def _alive(self) -> list[WorkerState]:
        return [w for w in self.workers.values() if not w.lost]

    def _to_all(self, kind: str) -> None:
        for worker in self._alive():
            self._tell(worker, kind)

    def _tell(self, worker: WorkerState, kind: str, **data: Any) -> None:
        try:
            self._send(kind, {"run": self.id, **data}, worker.id)
        except Exception as e:  # a connection that is gone: the lease decides
            logger.debug("could not send %s to %s: %s", kind, worker.id, e)
