"""Probes of M/D/c queues whose capacity is known: c places, first come first served, one service
time, Poisson arrivals as `arrivals.arrival_offsets` makes them.
"""

from dataclasses import dataclass

import numpy as np

from llmbench_locust.arrivals import arrival_offsets
from llmbench_locust.experiments.evidence import Outcome
from llmbench_locust.statistics.crossing import Unit
from llmbench_locust.statistics.crowding import crowding
from llmbench_locust.statistics.transients import completion_rate, steady_window


@dataclass(frozen=True)
class Queue:
    """Seconds. ``capacity``: the largest rate at which ``share`` of the requests have their first
    token within ``limit``, from the closed form of Franx (2001); of the last two from three
    simulations of two million requests each.
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
        rate, saturated = completion_rate(due, ends)
        latency = float((ends - due).mean())
        crowded = crowding(due, rows, (load, 1.0), latency, self.share)
        return Outcome(
            load=load,
            units=(Unit(load, float(met.sum()), float(len(met)), crowded, load * latency),),
            requests=requests,
            seconds=float(ends.max()),
            latency_s=latency,
            throughput=rate,
            seed=seed,
            saturated=saturated,
        )


#: The sixth is nearly the share that does not wait at all. The last two are nearly saturated at
#: their capacity: a queue that began empty takes thousands of requests to forget it.
QUEUES = (
    Queue(4, 0.050, 0.020, 50, 0.200, 0.95, 1.5047),
    Queue(16, 0.060, 0.015, 100, 0.120, 0.90, 7.3177),
    Queue(24, 0.025, 0.012, 128, 0.250, 0.99, 10.5237),
    Queue(64, 0.080, 0.025, 64, 0.300, 0.95, 34.3174),
    Queue(1, 0.020, 0.005, 40, 0.500, 0.90, 2.8698),
    Queue(12, 0.100, 0.030, 33, 0.1005, 0.80, 8.1779),
    Queue(16, 0.050, 0.057, 2, 0.250, 0.90, 144.2),
    Queue(2, 0.050, 0.010, 21, 1.000, 0.90, 6.919),
)
