"""The offset between a worker's `perf_counter` and the master's, and its uncertainty.

On one machine both read CLOCK_MONOTONIC since the same boot, so the offset is exactly 0. Across
machines it is measured by round trips, as in NTP (RFC 5905, section 8): offset = worker's time −
middle of the round trip, with an error of at most half of it. The shortest of several round trips
is used, but not forever: two clocks drift apart, so its error grows with its age.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

#: By how much two clocks may drift apart, in seconds per second: quartz is off by up to 50 ppm.
DRIFT = 1e-4


@functools.cache
def clock_identity() -> str:
    """Equal in processes whose perf_counter reads the same clock; "" if unknown."""
    if sys.platform != "linux":
        return ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            boot = f.read().strip()
        with open("/proc/self/timens_offsets", encoding="ascii") as f:
            shifted = f.read().split()
    except OSError:
        return ""
    return boot + "/" + " ".join(shifted)


@dataclass(slots=True)
class ClockOffset:
    """worker's clock − master's clock = ``offset_s``, ± ``error_s`` (seconds)."""

    offset_s: float = 0.0
    error_s: float = float("inf")
    _known_s: float = 0.0

    def same_clock(self) -> None:
        """Both processes read one clock."""
        self.offset_s, self.error_s = 0.0, 0.0

    def measured(self, sent_s: float, worker_s: float, received_s: float) -> None:
        """A round trip: sent and received by the master's clock, answered by the worker's."""
        error = (received_s - sent_s) / 2
        self.error_s += DRIFT * (received_s - self._known_s)
        self._known_s = received_s
        if error < self.error_s:
            self.error_s = error
            self.offset_s = worker_s - (sent_s + received_s) / 2
