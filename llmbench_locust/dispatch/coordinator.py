"""The master's side of a run: sends tickets and receives records, with one clock and one
concurrency limit; every request is counted exactly once.

It communicates only by Locust's messages, which local mode delivers in the process. A worker may
start requests only under a lease, renewed several times a second, so a disconnected worker stops
by itself before its tickets go to others. A local run has no lease.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from time import perf_counter

import gevent
from gevent.event import Event

from llmbench_locust.dispatch import messages
from llmbench_locust.dispatch.accounts import Accounts
from llmbench_locust.dispatch.backlog import RunPlan
from llmbench_locust.dispatch.clock_sync import clock_identity
from llmbench_locust.dispatch.messages import Inbox, Malformed
from llmbench_locust.dispatch.permits import Permits, split
from llmbench_locust.dispatch.roster import Crew, Roster, WorkerState
from llmbench_locust.errors import SetupError
from llmbench_locust.records import RecordColumns

logger = logging.getLogger(__name__)

#: Maximum pause between two scheduling passes; a worker's report ends it early.
TURN_S = 0.2
READY_S = 60.0
#: How long a worker may take to abort requests in flight, and to report them.
CLOSE_S = 5.0
#: How long before their due time tickets are delivered, and the maximum number and bytes at one
#: worker.
AHEAD_S = 20.0
WINDOW = 4096
WINDOW_BYTES = 64_000_000


class Coordinator:
    """Conducts one run. ``on_columns`` gets each batch of outcomes once (times on the master's
    clock); ``on_report`` gets each worker after its report. ``done`` is set when the run is over.
    """

    def __init__(
        self,
        plan: RunPlan,
        crew: Crew,
        *,
        on_columns: Callable[[RecordColumns], None],
        on_report: Callable[[WorkerState], None] = lambda worker: None,
        done: Event | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.plan = plan
        self.done = done or Event()
        self.halted = False
        self.workers_lost = 0
        self._crew = crew
        self._on_report = on_report
        self._accounts = Accounts(plan, on_columns)
        self.ledger = self._accounts.ledger
        self._permits = Permits(plan.cap) if plan.cap is not None else None
        self._roster = Roster(self.id, plan, crew, self._permits)
        self.workers = self._roster.workers
        self._interrupting = False
        self._halted_s = 0.0
        self._conductor: gevent.Greenlet | None = None
        self._woken = Event()
        self._inbox = Inbox(
            {
                messages.Ready: self._on_ready,
                messages.Pong: self._on_pong,
                messages.Returned: self._on_returned,
                messages.Report: self._on_report_of,
                messages.Arrived: self._roster.acknowledged,
            }
        )

    @property
    def start_s(self) -> float:
        """Start of the arrivals, seconds of perf_counter; NaN before."""
        return self._accounts.start_s

    # --- the run

    def prepare(self) -> None:
        """Send the plan to the workers, wait until they are ready, measure their clocks, deliver
        the first tickets.

        Raises SetupError if no worker answers.
        """
        ids = self._crew.workers()
        shares = (
            split(self.plan.cap, len(ids)) if self.plan.cap is not None and ids else [0] * len(ids)
        )
        for worker_id, share in zip(ids, shares, strict=True):
            self._roster.invite(worker_id, share, len(ids))
        deadline = perf_counter() + READY_S
        while (late := [w for w in self.workers.values() if not w.ready]) and (
            perf_counter() < deadline
        ):
            connected = self._crew.workers()
            for worker in late:
                if worker.refused:
                    raise SetupError(f"worker {worker.id} cannot take part: {worker.refused}")
                if worker.id not in connected:
                    self._leave_out(worker, "left before the start")
            gevent.sleep(0.005)
        for worker in late:
            self._leave_out(worker, f"did not get ready within {READY_S:g} s")
        if not self.workers:
            raise SetupError("no worker is ready to send requests")
        self._roster.find_clocks(list(self.workers.values()))
        self._feed(0.0)

    def _leave_out(self, worker: WorkerState, why: str) -> None:
        logger.warning("worker %s %s: it takes no part", worker.id, why)
        self._roster.forget(worker)

    def start(self) -> None:
        """Start the clock and conduct the run; `done` is set at its end, also after an error."""
        self._conductor = gevent.spawn(self._conduct)
        self._conductor.link_exception(lambda _: gevent.spawn(self.interrupt))

    def _conduct(self) -> None:
        self._accounts.start_s = perf_counter() + self._head_start_s()
        for worker in self.workers.values():
            self._roster.go(worker, self.start_s)
        renewed = perf_counter()
        while not self._over():
            self._woken.wait(self._pause_s(perf_counter()))
            self._woken.clear()
            now = perf_counter()
            if now - renewed > 0.15 and not self._crew.local:
                renewed = now
                for worker in self._roster.renew(now):
                    self._lose(worker)
                for worker in [] if self.halted else self._roster.invite_new():
                    gevent.spawn(self._welcome, worker)
            self._feed(now - self.start_s)
            self._balance()
            self._watch_time(now)
        self.finish()

    def _over(self) -> bool:
        if self.plan.tasks:
            return self.halted and all(w.closed for w in self._roster.alive())
        return self.ledger.finished

    def _head_start_s(self) -> float:
        """Seconds until the start of the arrivals: time for the workers to receive it."""
        if self.plan.tasks:
            return 0.0
        if self._crew.local:
            return 0.02
        return 0.1 + 4 * max(min(w.clock.error_s, 1.0) for w in self.workers.values())

    def finish(self) -> None:
        """Release the workers; sets `done`."""
        if not self.done.is_set():
            self.done.set()
            self._roster.to_all(messages.Stop(self.id))

    def halt(self) -> None:
        """Send nothing more; requests in flight finish. Users with their own tasks stop."""
        if not self.halted:
            self.halted = True
            self._halted_s = perf_counter()
            self._accounts.cancel()
            self._roster.to_all(messages.Halt(self.id))
            self._woken.set()

    def interrupt(self, timeout_s: float = CLOSE_S) -> None:
        """Abort the run: requests in flight end as interrupted; waits for the last reports."""
        if self.done.is_set():
            return
        if self._interrupting:
            # A second caller must not report before the first has collected all outcomes.
            self.done.wait(2 * timeout_s)
            return
        self._interrupting = True
        for worker in self._roster.gone():
            self._lose(worker)
        if self._conductor is not None:
            self._conductor.kill(block=False)
        self.halt()
        self._roster.to_all(messages.Stop(self.id))
        deadline = perf_counter() + timeout_s
        while not self._over() and perf_counter() < deadline and self._roster.alive():
            gevent.sleep(0.01)
        self._give_up_the_rest()
        self.done.set()

    def _give_up_the_rest(self) -> None:
        for worker in self._roster.alive():
            self._accounts.interrupt(worker.number, worker.id)
            worker.closed = True

    # --- messages from workers

    def receive(self, kind: str, data: object, worker_id: str) -> None:
        """Handle a message from a worker; drops those of another run or of a lost worker."""
        self._inbox.receive(kind, data, worker_id)

    def _on_ready(self, message: messages.Ready, worker_id: str) -> None:
        worker = self._roster.sender(message, worker_id)
        if worker is not None and message.refused:
            worker.refused = message.refused
        elif worker is not None:
            worker.ready, worker.prewarmed = True, message.prewarmed
            worker.pid, worker.host = message.pid, message.host
            if self.plan.prewarm and not message.prewarmed and not self._crew.local:
                logger.warning("worker %s could not connect to the server", worker.id)
            if message.clock and message.clock == clock_identity():
                worker.clock.same_clock()

    def _on_pong(self, message: messages.Pong, worker_id: str) -> None:
        if (worker := self._roster.sender(message, worker_id)) is not None:
            worker.clock.measured(message.sent_s, message.worker_s, worker.heard_s)

    def _on_returned(self, message: messages.Returned, worker_id: str) -> None:
        worker = self._roster.sender(message, worker_id)
        if worker is not None and self._permits is not None:
            self._permits.returned(worker.number, message.permits)
            self._balance()

    def _on_report_of(self, report: messages.Report, worker_id: str) -> None:
        worker = self._roster.sender(report, worker_id)
        if worker is None:
            return
        if report.records is not None:
            report.records.shift_times(-worker.clock.offset_s)
        try:
            self._accounts.reported(worker.number, report.sent, report.records, report.unsent)
        except IndexError as e:
            raise Malformed(str(e)) from e
        if self._permits is not None:
            holder = self._permits.holders[worker.number]
            holder.free, holder.waiting = report.free, report.waiting
            self._balance()
        worker.closed = worker.closed or report.closed
        if worker.going:
            worker.cpu_last = (report.cpu_s, report.clock_s)
            worker.cpu_start = worker.cpu_start or worker.cpu_last
        worker.latest = report
        self._on_report(worker)
        if worker.left and not (self.halted or self.plan.tasks or self.done.is_set()):
            self._lose(worker)
        self._woken.set()

    # --- tickets

    def _feed(self, now_s: float) -> None:
        """Deliver tickets due before ``now_s`` + AHEAD_S in turn, within each worker's window."""
        takers = {w.number: w for w in self._roster.alive() if w.ready}
        for number, batch in self._accounts.tickets.batches(
            now_s + AHEAD_S, list(takers), lambda n: self._has_room(takers[n]), self.ledger.deliver
        ):
            self._roster.tell(takers[number], messages.Tickets(self.id, batch))
        if self._accounts.tickets.broken:
            self.halt()

    def _has_room(self, worker: WorkerState) -> bool:
        window = WINDOW
        if self._permits is not None and len(self.workers) > 1:
            # Few, so that for a lost worker few requests may or may not have been sent; none while
            # no permit is free. A worker asks for a permit when a ticket waits for one.
            held = self._permits.holders[worker.number].held or self._permits.pool
            window = min(WINDOW, 2 * held + 8) if held else 0
        pending = self.ledger.pending.get(worker.number, 0)
        return pending < window and self.ledger.pending_bytes.get(worker.number, 0) < WINDOW_BYTES

    def _balance(self) -> None:
        if self._permits is None or self._crew.local:
            return
        by_number = {w.number: w for w in self.workers.values()}
        grants, recalls = self._permits.balance()
        for number, permits in grants.items():
            self._roster.tell(by_number[number], messages.Grant(self.id, permits))
        for number, permits in recalls.items():
            self._roster.tell(by_number[number], messages.Recall(self.id, permits))

    # --- workers

    def _welcome(self, worker: WorkerState) -> None:
        deadline = perf_counter() + READY_S
        while not worker.ready and perf_counter() < deadline and not self.done.is_set():
            gevent.sleep(0.01)
        if worker.ready and not self.done.is_set():
            self._roster.find_clocks([worker])
            self._roster.go(worker, self.start_s)

    def _lose(self, worker: WorkerState) -> None:
        worker.lost = True
        self.workers_lost += 1
        until_s = float("-inf") if worker.left else worker.lease_until_s
        failed, returned = self._accounts.lose(worker.number, worker.id, until_s)
        logger.error(
            "worker %s %s: %d requests fail with it, %d go to the others",
            worker.id,
            "has left" if worker.left else "is lost",
            failed,
            returned,
        )
        if self._permits is not None:
            self._permits.leave(worker.number)
        self._roster.tell(worker, messages.Stop(self.id))
        if not self._roster.alive():
            logger.error("no worker is left: the run ends")
            self._accounts.abandon(worker.number, worker.id)
        self._balance()

    # --- helpers

    def _pause_s(self, now: float) -> float:
        """Seconds until the next pass; less if the run's time or the grace after it ends sooner."""
        plan = self.plan
        end = now
        if not self.halted and plan.run_time_s is not None:
            end = self.start_s + plan.run_time_s
        elif self.halted and plan.stop_timeout_s:
            end = self._halted_s + plan.stop_timeout_s
        return min(TURN_S, end - now) if end > now else TURN_S

    def _watch_time(self, now: float) -> None:
        plan = self.plan
        if plan.tasks:
            self._watch_users(now)
            return
        if (
            not self.halted
            and plan.run_time_s is not None
            and now - self.start_s >= plan.run_time_s
        ):
            self.halt()
        if self.halted and plan.stop_timeout_s and now - self._halted_s > plan.stop_timeout_s:
            self._roster.to_all(messages.Stop(self.id))

    def _watch_users(self, now: float) -> None:
        """Locust stops the users; does not wait for a worker that does not report this in time."""
        late_s = now - self._halted_s - (self.plan.stop_timeout_s or 0.0)
        if self.halted and late_s > 2 * CLOSE_S:
            self._give_up_the_rest()
        elif self.halted and late_s > CLOSE_S:
            self._roster.to_all(messages.Stop(self.id))
