"""Finds time for non-urgent work between two scheduled sends.

In an open loop the time of the next send is known. Reports, live figures, the encoding of later
requests and the garbage collector run for fractions of a millisecond when no send is due, so that
no send waits for them; and the reader keeps its iterations short when a send is due.
"""

from __future__ import annotations

from time import perf_counter

import gevent

#: Maximum wait for a gap, however frequent the sends are.
PATIENCE_S = 0.02
# Work runs for at least this time, even when a send is due.
_LEAST_S = 0.0001


class Gaps:
    """One for each process, which has one event loop. The dispatcher sets ``next_s``: when the next
    request is due, in seconds of perf_counter; infinite if none is. ``behind``: so many requests
    are due that none can be on time, and frequent task switches would only cost time.
    ``ends_awaited``: whether the end of a response may trigger another request (a concurrency
    limit, a session, a user's own task).
    """

    def __init__(self) -> None:
        self.next_s = float("inf")
        self.behind = False
        self.ends_awaited = True

    def until(self, now: float, most_s: float) -> float:
        """When work that begins now and may take ``most_s`` must yield to the next send."""
        if self.behind:
            return now + most_s
        return min(now + most_s, max(self.next_s, now + _LEAST_S))

    def wait(self, needed_s: float) -> None:
        """Wait until nothing is due within ``needed_s``, at most `PATIENCE_S`."""
        now = perf_counter()
        patient_until_s = now + PATIENCE_S
        while now < patient_until_s and self.next_s - now < needed_s:
            gevent.sleep(0.0005)
            now = perf_counter()
