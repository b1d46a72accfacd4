"""Sends the tickets of one process: each is started by an idle user when it is due, under the
concurrency limit.

Open loop: a due ticket never waits for an idle user (without one it is started anyway and counted
as overflow). With a concurrency limit it waits, first in first out, for a permit. Nothing is
started after the lease has expired: a process that was disconnected from its master, or suspended
and resumed, sends nothing that another may have sent instead.

All methods are called from greenlets of one gevent loop; `_pump` runs in the hub and never blocks.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter

import gevent
from gevent.event import Event

from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.transport.alarm import Alarm
from llmbench_locust.transport.gaps import Gaps

#: How long one call of the pump may start requests before it yields to the loop: usually, and after
#: `BEHIND` consecutive calls that were not enough.
SLICE_S, LONG_SLICE_S, BEHIND = 0.0005, 0.005, 8

Perform = Callable[[Ticket, float, object], None]


class Dispatcher:
    """``perform(ticket, due_time, user)`` runs for each ticket, in a greenlet with no other ticket,
    and returns when the request has its outcome.

    ``permits``: how many requests may be in flight here, None without a limit; with ``sessions``,
    how many sessions may be active, until `session_ended` is called for each. ``wanted``: called
    when tickets wait for a permit, when the stock runs low and when nothing is left to do.
    ``gaps`` is told when the next is due.
    """

    def __init__(
        self,
        perform: Perform,
        *,
        permits: int | None,
        wanted: Callable[[], None] = lambda: None,
        sessions: bool = False,
        gaps: Gaps | None = None,
    ) -> None:
        self._perform = perform
        self._gaps = gaps or Gaps()
        self._gaps.ends_awaited = permits is not None
        self.permits = permits
        self._wanted = wanted
        self._by_session = sessions
        self._sessions = 0
        self._coming: list[tuple[float, int, Ticket]] = []
        self._waiting: deque[tuple[float, Ticket]] = deque()
        self._idle: deque[object] = deque()
        self._present: set[object] = set()
        self._jobs: set[gevent.Greenlet] = set()
        # Idle greenlets, last used last. Creating one costs more than a switch.
        self._carriers: list[gevent.Greenlet] = []
        self._start_s = float("inf")
        self._lease_until_s = float("-inf")
        self._freed_s = float("-inf")  # since then there has been a free permit
        self._halted = False
        self._alarm = Alarm(self._pump)
        self._hub = gevent.get_hub()
        self._pump_due = False
        self._cut = 0  # consecutive calls of the pump that ended before all was sent
        self.closed = Event()
        self.sent = array("q")
        self.send_lag_s = array("d")
        self.offered = 0
        self.overflow = 0
        self.lapsed_s = 0.0  # how long there was no lease

    # --- called for the master's messages

    def add(self, tickets: Iterable[Ticket]) -> list[int]:
        """Add tickets; ``due_s`` is relative to the start of the arrivals. Returns the indexes that
        come after `halt` and are never sent.
        """
        if self._halted:
            return [i for ticket in tickets for i in _indexes(ticket)]
        for ticket in tickets:
            heapq.heappush(self._coming, (ticket.due_s, ticket.index, ticket))
            if ticket.following:
                self._gaps.ends_awaited = True
        self._arm()
        return []

    def add_turns(self, turns: Iterable[tuple[Ticket, float]]) -> None:
        """Add later turns of a session, each due at a time in seconds of perf_counter, but not
        before its ticket's own due time.
        """
        for ticket, due_time in turns:
            due_s = due_time - self._start_s
            if ticket.due_s > due_s:
                due_s = ticket.due_s
            heapq.heappush(self._coming, (due_s, ticket.index, ticket))
        self._arm()

    def session_ended(self) -> None:
        """A session has no request left."""
        self._sessions -= 1
        if self._by_session:
            self._note_free(1)
            if self._waiting:
                self._soon()

    def go(self, start_s: float) -> None:
        """The arrivals start at ``start_s`` (seconds of perf_counter)."""
        self._start_s = start_s
        self._freed_s = perf_counter()
        self._arm()

    def lease(self, until_s: float) -> None:
        """Requests may be started until ``until_s``."""
        now = perf_counter()
        if until_s < now:
            return  # it comes too late, with others
        expired = now > self._lease_until_s
        if expired and self._lease_until_s > float("-inf"):
            self.lapsed_s += now - self._lease_until_s
        self._lease_until_s = max(self._lease_until_s, until_s)
        if expired:
            self._arm()
            self._soon()  # tickets that wait for a permit have no alarm

    def grant(self, permits: int) -> None:
        """Allow this many more requests in flight."""
        if self.permits is not None:
            self.permits += permits
            self._note_free(permits)
            self._soon()

    def give_back(self, wanted: int) -> int:
        """Give back up to ``wanted`` permits that are not needed now; returns how many."""
        given = min(wanted, max(0, self.free_permits - len(self._waiting)))
        if self.permits is not None:
            self.permits -= given
        return given

    def drop(self) -> None:
        """Forget the tickets that were not started; later turns of started sessions stay."""
        self._coming = [entry for entry in self._coming if entry[2].play is not None]
        heapq.heapify(self._coming)
        self._waiting = deque(entry for entry in self._waiting if entry[1].play is not None)

    def halt(self) -> list[int]:
        """Start nothing more; requests in flight continue. Returns the indexes never sent."""
        self._halted = True
        left = [i for _, _, t in self._coming for i in _indexes(t)] + [
            i for _, t in self._waiting for i in _indexes(t)
        ]
        self._coming.clear()
        self._waiting.clear()
        self._gaps.next_s, self._gaps.behind = float("inf"), False
        self._gaps.ends_awaited = True
        return left

    def close(self, timeout_s: float = 5.0) -> list[int]:
        """Halt, abort requests in flight (`perform` gets GreenletExit) and release the users.

        Returns the indexes that were never sent.
        """
        left = self.halt()
        self._alarm.close()
        self.closed.set()
        gevent.killall([*self._jobs, *self._carriers], block=True, timeout=timeout_s)
        return left

    # --- called by users

    def attend(self, user: object) -> None:
        """Perform tickets until the run is over or the greenlet is killed."""
        self._present.add(user)
        self._idle.append(user)
        try:
            self.closed.wait()
        finally:
            self._present.discard(user)

    # --- figures

    @property
    def in_flight(self) -> int:
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def stock(self) -> int:
        """Number of tickets that were not started."""
        return len(self._coming) + len(self._waiting)

    @property
    def free_permits(self) -> int:
        used = self._sessions if self._by_session else len(self._jobs)
        return 0 if self.permits is None else max(0, self.permits - used)

    def _note_free(self, permits: int) -> None:
        """This many permits have become free."""
        if self.free_permits == permits:
            self._freed_s = perf_counter()

    def _may_start(self, ticket: Ticket) -> bool:
        """Whether a due ticket can start without waiting for a permit."""
        if self.permits is None or (self._by_session and ticket.play is not None):
            return True
        return bool(self.free_permits) and not self._waiting

    # --- the pump

    def _soon(self) -> None:
        if not self._pump_due and not self.closed.is_set():
            self._pump_due = True
            self._hub.loop.run_callback(self._pump)

    def _arm(self) -> None:
        if self._coming and not self.closed.is_set():
            self._gaps.next_s = self._start_s + self._coming[0][0]
            self._alarm.set(self._gaps.next_s if self._gaps.next_s < float("inf") else 2**31)
        else:
            self._gaps.next_s = float("inf")

    def _pump(self) -> None:
        self._pump_due = False
        now = perf_counter()
        stop = now + (LONG_SLICE_S if self._gaps.behind else SLICE_S)
        if now > self._lease_until_s or self.closed.is_set():
            return
        while self._waiting and self.free_permits:
            due, ticket = self._waiting.popleft()
            self._start(ticket, due, perf_counter() if due < now else due)
            if perf_counter() > stop:
                self._soon()
                return
        coming, start_s = self._coming, self._start_s
        while coming and start_s + coming[0][0] <= now:
            due, _, ticket = heapq.heappop(coming)
            due += start_s
            self.offered += 1
            if self._may_start(ticket):
                # The master holds back what no permit is free for: then it is not late here.
                held = self.permits is not None and due < self._freed_s
                self._start(ticket, due, self._freed_s if held else due)
            else:
                self._waiting.append((due, ticket))
                if len(self._waiting) == 1:
                    self._wanted()
            now = perf_counter()
            if now > stop:
                # The alarm, not a callback, so that sockets are polled in between.
                self._alarm.set(now)
                self._cut += 1
                self._gaps.behind = self._cut >= BEHIND
                return
        self._cut, self._gaps.behind = 0, False
        if self.permits is None and not coming:
            self._wanted()
        self._arm()

    def _start(self, ticket: Ticket, due: float, ready: float) -> None:
        """Returns once the request is sent or waits for something. ``ready``: when it could have
        started but for this process.
        """
        user = self._idle_user()
        if user is None:
            self.overflow += 1
        self._sessions += ticket.play is None
        job = (ticket, due, ready, user)
        while self._carriers and self._carriers[-1].dead:  # a listener's timeout killed it
            self._carriers.pop()
        if self._carriers:
            carrier = self._carriers.pop()
            self._jobs.add(carrier)
            carrier.switch(job)
        else:
            carrier = gevent.Greenlet(self._carry, job)
            self._jobs.add(carrier)
            carrier.switch()

    def _idle_user(self) -> object:
        while self._idle:
            user = self._idle.popleft()
            if user in self._present:
                return user
        return None

    def _carry(self, job: tuple[Ticket, float, float, object]) -> None:
        carrier = gevent.getcurrent()
        while True:
            self._run(*job)
            if self.closed.is_set():
                return
            self._carriers.append(carrier)
            job = self._hub.switch()

    def _run(self, ticket: Ticket, due: float, ready: float, user: object) -> None:
        self.sent.append(ticket.index)
        self.send_lag_s.append(perf_counter() - ready)
        try:
            self._perform(ticket, due, user)
        finally:
            self._jobs.discard(gevent.getcurrent())
            if not self._by_session:
                self._note_free(1)
            if user is not None:
                self._idle.append(user)
            if self._waiting:
                self._soon()
            elif not (self._jobs or self._coming) or (
                self.permits is not None and self.stock <= self.permits
            ):
                self._wanted()


def _indexes(ticket: Ticket) -> list[int]:
    return [ticket.index, *(t.index for t in ticket.following)]
