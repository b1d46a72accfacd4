"""Chooses one of several servers for each request.

Like a load balancer: in turn, by session, or the server with the fewest requests of this process in
flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from llmbench_locust.transport.client import Counters, Transport
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.sample import SampleRequest


class Replicas:
    """``transports``: the connections to each server. ``balance``: one of ``--balance``."""

    def __init__(self, transports: Sequence[Transport], balance: str) -> None:
        self.transports, self._balance = transports, balance

    def choose(self, index: int, sample: SampleRequest) -> int:
        """The index of the server for a request. ``index``: its position in the plan, so that the
        turn is global over all workers.
        """
        n = len(self.transports)
        if self._balance == "least-in-flight" and n > 1:
            loads = [transport.counters.in_flight for transport in self.transports]
            return min(range(n), key=lambda i: (loads[i], (i - index) % n))
        by_session = self._balance == "session" and sample.conversation is not None
        return (sample.conversation or 0 if by_session else index) % n

    @property
    def gaps(self) -> Gaps:
        """The gaps of the process, which all transports share."""
        return self.transports[0].gaps

    @property
    def counters(self) -> Counters:
        found = [transport.counters for transport in self.transports]
        if len(found) == 1:
            return found[0]
        summed = {
            f.name: sum(getattr(counters, f.name) for counters in found)
            for f in fields(Counters)
            if f.name not in ("kernel_times", "reader")
        }
        kernel = all(counters.kernel_times for counters in found)
        return Counters(**summed, kernel_times=kernel, reader=found[0].reader)

    def prewarm(self, n: int) -> int:
        """Open connections until about ``n`` are idle; returns how many are."""
        each = -(-n // len(self.transports))
        return sum(transport.prewarm(each) for transport in self.transports)

    def close(self) -> None:
        for transport in self.transports:
            transport.close()
