"""The outcome of every request of a run, planned or not. No messages, no clock.

`Ledger` keeps the states; this adds the outcomes: each is passed on once, and a request that its
worker will never report gets its outcome here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmbench_locust.dispatch.backlog import PlannedTickets, RunPlan
from llmbench_locust.dispatch.ledger import Indexes, Ledger, TaskLedger
from llmbench_locust.records import RecordColumns


class Accounts:
    """``on_columns`` gets each batch of outcomes once. ``start_s``: of the arrivals, on the
    master's clock.
    """

    def __init__(self, plan: RunPlan, on_columns: Callable[[RecordColumns], None]) -> None:
        self.tickets = PlannedTickets(plan.tickets)
        self.ledger = TaskLedger() if plan.tasks else Ledger(plan.tickets.total)
        self.ledger.know(plan.done)
        self.start_s = float("nan")
        self._on_columns = on_columns

    def reported(
        self, number: int, sent: Indexes, records: RecordColumns | None, unsent: Indexes
    ) -> None:
        """Add a report of worker ``number``; ``records`` on the master's clock. Raises IndexError
        for a request that is not in the plan.
        """
        ledger = self.ledger
        ledger.send(number, ledger.indexes(number, sent))
        if records is not None:
            index = ledger.indexes(number, records.ints["index"])
            records.ints["index"] = index
            counted = ledger.finish(number, index)
            self.tickets.done(counted)
            if len(counted) != len(records):
                records = records.take(np.flatnonzero(np.isin(index, counted)))
            self._on_columns(records)
        if len(unsent):
            self.tickets.done(ledger.never(number, ledger.indexes(number, unsent)))

    def cancel(self) -> None:
        self.tickets.drop()
        self.ledger.cancel()

    def lose(self, number: int, worker: str, lease_until_s: float) -> tuple[int, int]:
        """The worker is lost. Requests that it may have started by ``lease_until_s`` fail; the rest
        goes to others. Returns the number of each.
        """
        startable = self.tickets.startable(lease_until_s - self.start_s, len(self.ledger.state))
        failed, returned = self.ledger.lose(number, startable)
        self._fail(failed, worker, "worker lost before it reported the outcome", "worker_lost")
        self.tickets.take_back(returned)
        return len(failed), len(returned)

    def abandon(self, number: int, worker: str) -> None:
        """No worker is left: unsent requests fail with the last one. Requests that do not exist yet
        are never sent.
        """
        left = self.tickets.clear()
        if len(left):
            self.ledger.deliver(number, left)
            self.ledger.finish(number, left)
            self._fail(left, worker, "no worker left to send it", "worker_lost")
        self.ledger.cancel()

    def interrupt(self, number: int, worker: str) -> None:
        """The run is over and the worker has not reported the outcomes of its requests."""
        failed, _ = self.ledger.lose(number, np.ones(len(self.ledger.state), np.bool_))
        self._fail(failed, worker, "interrupted; its worker reported no outcome", "interrupted")

    def _fail(self, indexes: Indexes, worker: str, error: str, kind: str) -> None:
        records = self.tickets.failed(indexes, worker, self.start_s, error, kind)
        if records:
            self._on_columns(RecordColumns.from_records(records))
