"""The workers of a run, their clock offsets and their leases."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol

import gevent

from llmbench_locust.dispatch import messages
from llmbench_locust.dispatch.backlog import RunPlan
from llmbench_locust.dispatch.clock_sync import ClockOffset
from llmbench_locust.dispatch.messages import Message, Numbered, Report
from llmbench_locust.dispatch.permits import Permits
from llmbench_locust.dispatch.reports import Outbox, Seen

logger = logging.getLogger(__name__)

#: A worker may start requests for this long after the last renewal.
LEASE_S = 1.5
#: After this silence a worker's lease is no longer renewed.
SILENT_S = 1.0
#: Time after the end of its lease until a worker counts as lost, and less for one that has left. On
#: a busy machine a live worker may be silent for seconds.
GRACE_S = 2.0
LEFT_GRACE_S = 0.25


class Crew(Protocol):
    """The workers. ``local``: the only one is in this process."""

    local: bool

    def send(self, message: Message, worker: str) -> None:
        """Send one message to one worker."""

    def ask_versions(self) -> None:
        """Ask new workers for their version."""

    def workers(self) -> list[str]:
        """Ids of the connected workers that may take part."""


@dataclass(slots=True)
class WorkerState:
    """One worker in one run. Times are on the master's clock; ``cpu_*``: (CPU seconds used, clock
    in seconds) at its first and its latest report. ``closed``: it has reported everything.
    """

    number: int
    id: str
    outbox: Outbox
    ready: bool = False
    going: bool = False
    lost: bool = False
    closed: bool = False
    clock: ClockOffset = field(default_factory=ClockOffset)
    pid: int = 0
    host: str = ""
    prewarmed: int = 0
    refused: str = ""
    heard_s: float = 0.0
    lease_until_s: float = float("-inf")
    seen: Seen = field(default_factory=Seen)
    latest: Report | None = None
    cpu_start: tuple[float, float] | None = None
    cpu_last: tuple[float, float] | None = None

    @property
    def left(self) -> bool:
        """Whether it has left the run, and all its reports are in."""
        return self.closed and not self.seen


class Roster:
    """``run``: the id of the run. ``permits``: None without a concurrency limit."""

    def __init__(self, run: str, plan: RunPlan, crew: Crew, permits: Permits | None) -> None:
        self.workers: dict[str, WorkerState] = {}
        self._run, self._plan, self._crew, self._permits = run, plan, crew, permits
        self._invited = 0
        self._listened_s = 0.0

    def invite(self, worker_id: str, share: int, parts: int) -> None:
        """Send the plan to one more worker. ``share``: its permits; ``parts``: count of workers."""
        outbox = Outbox(partial(self._send, worker_id))
        worker = WorkerState(self._invited, worker_id, outbox, heard_s=perf_counter())
        self._invited += 1
        self.workers[worker_id] = worker
        plan = self._plan
        self.tell(
            worker,
            messages.Plan(
                self._run,
                self._permits.join(worker.number, share) if self._permits is not None else None,
                -(-plan.prewarm // parts),
                plan.chat,
                plan.sessions,
                plan.tasks,
                plan.id_prefix,
                list(plan.wires),
            ),
        )

    def find_clocks(self, workers: list[WorkerState]) -> None:
        """Measure the clocks of workers on other machines."""
        for _ in range(12):
            far = [w for w in workers if w.clock.error_s > 0]
            if not far:
                return
            for worker in far:
                self.tell(worker, messages.Ping(self._run, perf_counter()))
            gevent.sleep(0.01)

    def go(self, worker: WorkerState, start_s: float) -> None:
        """The arrivals start at ``start_s`` (seconds of perf_counter)."""
        worker.going = True
        worker.heard_s = self._listened_s = perf_counter()
        worker.lease_until_s = float("inf")
        if not self._crew.local:
            worker.lease_until_s = max(start_s, perf_counter()) + LEASE_S
        offset = worker.clock.offset_s
        go = messages.Go(self._run, start_s + offset, worker.lease_until_s + offset)
        self.tell(worker, go)

    def renew(self, now: float) -> list[WorkerState]:
        """Renew the leases. Returns the lost workers.

        A pause of this process itself does not count as silence of the workers.
        """
        deaf = now - self._listened_s >= SILENT_S
        self._listened_s = now
        connected, lost = set(self._crew.workers()), []
        for worker in self.alive():
            if deaf:
                worker.heard_s = now
            silent = now - worker.heard_s >= SILENT_S
            # Locust saw it leave: it reports nothing more, but it may send until its lease ends.
            # A silent one with its own tasks may come back: its requests would not go to others.
            gone = worker.id not in connected
            if not silent and not gone:
                worker.lease_until_s = now + LEASE_S
                until_s = worker.lease_until_s + worker.clock.offset_s
                self.tell(worker, messages.Lease(self._run, until_s))
                if worker.clock.error_s > 0:
                    self.tell(worker, messages.Ping(self._run, now))
                worker.outbox.send_again(now)
                continue
            grace_s = LEFT_GRACE_S if gone else GRACE_S
            if now > worker.lease_until_s + grace_s and (gone or not self._plan.tasks):
                lost.append(worker)
        return lost

    def invite_new(self) -> list[WorkerState]:
        """Invite workers that have connected since, up to the run's maximum."""
        self._crew.ask_versions()
        plan, found = self._plan, []
        for worker_id in self._crew.workers():
            if worker_id not in self.workers and len(self.alive()) < plan.max_workers:
                logger.info("worker %s joins the run", worker_id)
                share = 0 if plan.cap is None else -(-plan.cap // plan.max_workers)
                self.invite(worker_id, share, plan.max_workers)
                found.append(self.workers[worker_id])
        return found

    def forget(self, worker: WorkerState) -> None:
        """Remove a worker from the run."""
        del self.workers[worker.id]
        if self._permits is not None:
            self._permits.leave(worker.number)

    def alive(self) -> list[WorkerState]:
        return [w for w in self.workers.values() if not w.lost]

    def gone(self) -> list[WorkerState]:
        """Those of `alive` that Locust sees no longer."""
        connected = set(self._crew.workers())
        return [w for w in self.alive() if w.id not in connected]

    def to_all(self, message: Message) -> None:
        for worker in self.alive():
            self.tell(worker, message)

    def sender(self, message: Message, worker_id: str) -> WorkerState | None:
        """Who sent a message that counts; None if it is of another run, of a lost worker, or came
        before. Acknowledges those with a number.
        """
        worker = self.workers.get(worker_id)
        if worker is None or message.run != self._run or worker.lost:
            return None
        worker.heard_s = perf_counter()
        if isinstance(message, Report | Numbered) and message.seq >= 0:
            self.tell(worker, messages.Ack(self._run, message.seq))
            return worker if worker.seen.add(message.seq) else None
        return worker

    def acknowledged(self, message: messages.Arrived, worker_id: str) -> None:
        if (worker := self.sender(message, worker_id)) is not None:
            worker.outbox.acknowledged(message.seq)

    def tell(self, worker: WorkerState, message: Message) -> None:
        if isinstance(message, Numbered) and not self._crew.local:
            worker.outbox.send(message)
        else:
            self._send(worker.id, message)

    def _send(self, worker_id: str, message: Message) -> None:
        try:
            self._crew.send(message, worker_id)
        except Exception as e:  # the connection is gone: the lease decides
            logger.debug("could not send %s to %s: %s", message.kind, worker_id, e)
