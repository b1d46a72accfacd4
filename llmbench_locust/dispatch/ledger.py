"""The state of each request of the plan, for the master. Pure: no messages, no clock, no Locust.

Each request is planned, delivered to a worker, sent, and then finished, or it is never sent. States
do not go backwards, except that a request that a lost worker cannot have sent is planned again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

PLANNED, DELIVERED, SENT, DONE, NEVER = range(5)

Indexes = NDArray[np.int64]


class Ledger:
    """``total``: requests of the plan, 9 bytes each; None for an endless plan, which grows as its
    requests are delivered.
    """

    def __init__(self, total: int | None) -> None:
        self.total = total
        n = total or 0
        self.weights = np.zeros(n, np.int32)
        self.state = np.zeros(n, np.uint8)
        self.owner = np.zeros(n, np.int32)
        self.pending: dict[int, int] = {}  # number delivered and not sent, by worker
        self.pending_bytes: dict[int, int] = {}
        self.sent_count = 0
        self.done_count = 0
        self.never_count = 0

    def indexes(self, worker: int, reported: Indexes) -> Indexes:
        """The indexes ``reported`` that a worker reported. Raises IndexError for unknown ones."""
        if len(reported) and not 0 <= reported.min() <= reported.max() < len(self.state):
            raise IndexError(f"request {reported.max()} of a plan of {len(self.state)}")
        return reported

    @property
    def finished(self) -> bool:
        """Whether every request has its outcome or was never sent."""
        return self.total is not None and self.done_count + self.never_count >= self.total

    def know(self, done: Indexes) -> None:
        """Mark requests whose outcome is known already, in a resumed run."""
        self.state[done] = DONE
        self.done_count += len(done)

    def deliver(self, worker: int, indexes: Iterable[int], weight: int = 0) -> None:
        """Deliver the requests of one ticket, first one first. ``weight``: bytes in total."""
        # Item by item: numpy is several times slower with arrays of one.
        for index in indexes:
            if self.total is None and index >= len(self.state):
                self._grow(max(1024, index + 1))
            self.weights[index] = weight
            self.state[index] = DELIVERED
            self.owner[index] = worker
            self.pending[worker] = self.pending.get(worker, 0) + 1
            self.pending_bytes[worker] = self.pending_bytes.get(worker, 0) + weight
            weight = 0

    def _grow(self, more: int) -> None:
        self.weights, self.state, self.owner = (
            np.concatenate([a, np.zeros(more, a.dtype)])
            for a in (self.weights, self.state, self.owner)
        )

    def send(self, worker: int, indexes: Indexes) -> None:
        """The worker reports that it sent these."""
        new = indexes[(self.owner[indexes] == worker) & (self.state[indexes] == DELIVERED)]
        self.state[new] = SENT
        self.sent_count += len(new)
        self._move(worker, new, -1)

    def finish(self, worker: int, indexes: Indexes) -> Indexes:
        """Returns the valid outcomes: not those of another worker's requests, nor duplicates."""
        self.send(worker, indexes)
        new: Indexes = indexes[(self.owner[indexes] == worker) & (self.state[indexes] == SENT)]
        self.state[new] = DONE
        self.done_count += len(new)
        return new

    def never(self, worker: int, indexes: Indexes) -> Indexes:
        """The worker reports that it will not send these. Returns the valid ones."""
        new: Indexes = indexes[(self.owner[indexes] == worker) & (self.state[indexes] == DELIVERED)]
        self._move(worker, new, -1)
        self.state[new] = NEVER
        self.never_count += len(new)
        return new

    def cancel(self) -> None:
        """Requests still planned are never delivered. An endless plan ends here."""
        if self.total is None:
            self.total = int(np.max(np.flatnonzero(self.state), initial=-1)) + 1
        left = np.flatnonzero(self.state[: self.total] == PLANNED)
        self.state[left] = NEVER
        self.never_count += len(left)

    def lose(self, worker: int, startable: NDArray[np.bool_]) -> tuple[Indexes, Indexes]:
        """The worker is lost. ``startable`` (bool, shape (n,)): requests that it may have started
        before its lease expired.

        Returns (failed, returned): requests that were or may have been sent, now finished; and
        those that cannot have been sent, planned again.
        """
        mine = self.owner == worker
        delivered = mine & (self.state == DELIVERED)
        failed = np.flatnonzero((mine & (self.state == SENT)) | (delivered & startable))
        returned = np.flatnonzero(delivered & ~startable)
        self.sent_count += int(np.count_nonzero(self.state[failed] == DELIVERED))
        self.state[failed] = DONE
        self.done_count += len(failed)
        self.state[returned] = PLANNED
        self.pending.pop(worker, None)
        self.pending_bytes.pop(worker, None)
        return failed, returned

    def _move(self, worker: int, indexes: Indexes, sign: int) -> None:
        self.pending[worker] = self.pending.get(worker, 0) + sign * len(indexes)
        moved = int(self.weights[indexes].sum())
        self.pending_bytes[worker] = self.pending_bytes.get(worker, 0) + sign * moved


class TaskLedger(Ledger):
    """Unplanned requests, added when a worker reports them; each worker counts from 0."""

    def __init__(self) -> None:
        super().__init__(0)
        self._states = np.empty(1024, np.uint8)
        self._owners = np.empty(1024, np.int32)
        self._of: dict[int, array[int]] = {}

    def indexes(self, worker: int, reported: Indexes) -> Indexes:
        """Converts ``reported``, the worker's own indexes, to this ledger's; adds new ones."""
        if not len(reported):
            return reported
        if reported.min() < 0:
            raise IndexError(f"request {reported.min()}")
        of = self._of.setdefault(worker, array("q"))
        new = int(reported.max()) + 1 - len(of)
        if new > 0:
            of.extend(range(len(self.state), len(self.state) + new))
            self._add(new, worker)
        return np.frombuffer(of, np.int64)[reported]

    def never(self, worker: int, indexes: Indexes) -> Indexes:
        """Requests cut off with their users: sent, but without an outcome."""
        new: Indexes = indexes[(self.owner[indexes] == worker) & (self.state[indexes] < DONE)]
        self.state[new] = NEVER
        self.never_count += len(new)
        return new

    def lose(self, worker: int, startable: NDArray[np.bool_]) -> tuple[Indexes, Indexes]:
        """Users may have started all requests that they reported."""
        return super().lose(worker, np.ones_like(startable))

    def _add(self, new: int, worker: int) -> None:
        have, n = len(self.state), len(self.state) + new
        if n > len(self._states):
            self._states = np.resize(self._states, 2 * n)
            self._owners = np.resize(self._owners, 2 * n)
        self.total = n
        self.state, self.owner = self._states[:n], self._owners[:n]
        self.state[have:], self.owner[have:] = DELIVERED, worker

    def _move(self, worker: int, indexes: Indexes, sign: int) -> None:
        """Nothing was delivered."""
