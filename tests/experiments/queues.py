"""Probes of M/D/c queues whose capacity is known: c places, first come first served, one service
time, Poisson arrivals as `arrivals.arrival_offsets` makes them.
"""

from dataclasses import dataclass

import numpy as np

from llmbench_locust.arrivals import arrival_offsets
from llmbench_locust.experiments.search import Outcome
from llmbench_locust.statistics.crossing import Unit
from llmbench_locust.statistics.crowding import crowding
from llmbench_locust.statistics.transients import steady_window


@dataclass(frozen=True)
class Queue:
    """Seconds. ``capacity``: the largest rate at which ``share`` of the requests have their first
    token within ``limit``, from the closed form of Franx (2001).
    """

    places: int
    ttft: float
    itl: float
    tokens: int
    limit: float
    share: float
    capacity: float

    @property
    def hold(self):
        return self.ttft + (self.tokens - 1) * self.itl

    def waits(self, due):
        begin, places, hold = due.tolist(), self.places, self.hold
        for k in range(places, len(begin)):
            begin[k] = max(begin[k], begin[k - places] + hold)
        return np.array(begin) - due

    def probe(self, load, requests, seed):
        due = arrival_offsets(requests, request_rate=load, seed=seed)
        waits = self.waits(due)
        ends = due + waits + self.hold
        rows = steady_window(due, ends)
        met = (waits + self.ttft <= self.limit)[rows]
        latency = float((ends - due).mean())
        crowded = crowding(due, rows, (load, 1.0), latency, self.share)
        return Outcome(
            load=load,
            units=(Unit(load, float(met.sum()), float(len(met)), crowded),),
            requests=requests,
            seconds=float(ends.max()),
            latency_s=latency,
            throughput=requests / float(ends.max()),
            seed=seed,
        )


#: The last one is nearly the share that does not wait at all.
QUEUES = (
    Queue(4, 0.050, 0.020, 50, 0.200, 0.95, 1.5047),
    Queue(16, 0.060, 0.015, 100, 0.120, 0.90, 7.3177),
    Queue(24, 0.025, 0.012, 128, 0.250, 0.99, 10.5237),
    Queue(64, 0.080, 0.025, 64, 0.300, 0.95, 34.3174),
    Queue(1, 0.020, 0.005, 40, 0.500, 0.90, 2.8698),
    Queue(12, 0.100, 0.030, 33, 0.1005, 0.80, 8.1779),
)
