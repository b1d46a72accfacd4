"""The global concurrency limit, split over the workers as permits. Pure.

The permits at workers and in transit never exceed the limit. A permit that one worker does not need
is recalled for another where requests wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def split(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` integer shares that differ by at most one."""
    return [total // parts + (1 if i < total % parts else 0) for i in range(parts)]


@dataclass(slots=True)
class Holder:
    """One worker's permits: ``held`` by it; ``recalled``: recall not answered yet; ``free`` and
    ``waiting`` as last reported.
    """

    held: int = 0
    recalled: int = 0
    free: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Permits:
    """``pool``: permits that no worker holds."""

    pool: int
    holders: dict[int, Holder] = field(default_factory=dict)

    def join(self, worker: int, share: int) -> int:
        """A worker joins; returns its number of permits, at most the pool."""
        given = min(share, self.pool)
        self.pool -= given
        self.holders[worker] = Holder(held=given)
        return given

    def leave(self, worker: int) -> None:
        """A worker is lost: its permits return to the pool."""
        holder = self.holders.pop(worker, None)
        if holder is not None:
            self.pool += holder.held

    def returned(self, worker: int, permits: int) -> None:
        """The answer to a recall."""
        holder = self.holders.get(worker)
        if holder is not None:
            holder.held -= permits
            holder.free = max(0, holder.free - permits)
            holder.recalled = 0
            self.pool += permits

    def balance(self) -> tuple[dict[int, int], dict[int, int]]:
        """(grants, recalls) by worker that move free permits to where requests wait."""
        grants: dict[int, int] = {}
        hungry = sorted(
            (h.waiting, w) for w, h in self.holders.items() if h.waiting and not h.free
        )[::-1]
        while self.pool and hungry:
            for _, worker in list(hungry):
                holder = self.holders[worker]
                if not self.pool:
                    break
                self.pool -= 1
                holder.held += 1
                holder.waiting -= 1
                grants[worker] = grants.get(worker, 0) + 1
                if not holder.waiting:
                    hungry = [h for h in hungry if h[1] != worker]
        wanted = sum(self.holders[w].waiting for _, w in hungry) - sum(
            h.recalled for h in self.holders.values()
        )
        recalls: dict[int, int] = {}
        for worker, holder in self.holders.items():
            take = min(wanted, holder.free)
            if take > 0 and not holder.waiting and not holder.recalled:
                holder.recalled = take
                recalls[worker] = take
                wanted -= take
        return grants, recalls
