"""When there is time for what is not urgent: between two sends of the schedule.

In an open loop the next send is known ahead. Reports, live figures, the encoding of requests to
come and the collector take their fractions of a millisecond where nothing falls due meanwhile,
instead of making a send wait for them; and the reader keeps its turns short when a send is due.
"""

from __future__ import annotations

from time import perf_counter

import gevent

#: Longest wait for a gap, however closely the sends follow each other.
PATIENCE_S = 0.02
# Work goes on for at least this time, even when a send is due.
_LEAST_S = 0.0001


class Gaps:
    """One for each process, which has one event loop. The dispatcher sets ``next_s``: when the next
    request is due, in seconds of perf_counter; infinite while none is. ``behind``: so many are due
    that none can be on time, and to change between tasks often would only make it last longer.
    ``ends_awaited``: whether another request may leave when a response ends (a cap, a session, a
    user's own task).
    """

    def __init__(self) -> None:
        self.next_s = float("inf")
        self.behind = False
        self.ends_awaited = True

    def until(self, now: float, most_s: float) -> float:
        """When work that begins now, and would take ``most_s``, makes way for what is due."""
        if self.behind:
            return now + most_s
        return min(now + most_s, max(self.next_s, now + _LEAST_S))

    def wait(self, needed_s: float) -> None:
        """Returns once nothing is due within ``needed_s``, or after `PATIENCE_S`; at once where
        that is so already.
        """
        now = perf_counter()
        patient_until_s = now + PATIENCE_S
        while now < patient_until_s and self.next_s - now < needed_s:
            gevent.sleep(0.0005)
            now = perf_counter()
