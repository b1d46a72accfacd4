"""Kernel receive timestamps (SO_TIMESTAMPNS) on the clock of `time.perf_counter`.

The kernel stamps a packet when it arrives, however late this process reads it, so TTFT and ITL do
not include the client's scheduling delay. A read of several packets has the time of the last one.
The stamps are wall-clock times. The offset between the two clocks is measured before each round of
reads; a round that detects a step of the wall clock uses the times of its reads instead.
"""

from __future__ import annotations

import _socket
import socket
import struct
import time
from collections.abc import Sequence

SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; Python has no name for it
_TIMESPEC = struct.Struct("@ll")
#: Seconds and nanoseconds of a stamp.
unpack_stamp = _TIMESPEC.unpack
#: Size of the ancillary data for `recvmsg`.
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
# Two readings further apart than this were interrupted.
_TIGHT_S = 3e-6
_STEP_S = 0.5e-3


def ask_for_stamps(sock: _socket.socket) -> None:
    """From now on `recvmsg` returns the kernel's receive time. Raises OSError if not supported."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def stamps_work() -> bool:
    """Whether this system's TCP sockets have receive timestamps."""
    sock = _socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        ask_for_stamps(sock)
    except OSError:
        return False
    finally:
        sock.close()
    return True


#: Of recvmsg: (level, type, data) each.
Ancillary = Sequence[tuple[int, int, bytes]]


class KernelClock:
    """``offset_s``: perf_counter minus CLOCK_REALTIME, in seconds. ``trusted``: the last
    measurement found no step of the clock.
    """

    def __init__(self) -> None:
        self.offset_s = distance_s()
        self.trusted = True

    def look(self) -> None:
        """Measure the offset; call before a round of reads."""
        offset_s = distance_s()
        self.trusted = -_STEP_S < offset_s - self.offset_s < _STEP_S
        self.offset_s = offset_s

    def time_of(self, ancillary: Ancillary) -> float:
        """The arrival time of a read, in seconds of `time.perf_counter`; now, if it has no trusted
        timestamp.
        """
        if not ancillary or not self.trusted:
            return time.perf_counter()
        seconds, nanoseconds = unpack_stamp(ancillary[0][2])
        return float(seconds + self.offset_s + nanoseconds * 1e-9)


def distance_s() -> float:
    """perf_counter minus CLOCK_REALTIME, from the first uninterrupted pair of readings, or the
    closest of four.
    """
    best = (float("inf"), 0.0)
    for _ in range(4):
        before = time.perf_counter()
        wall = time.clock_gettime(time.CLOCK_REALTIME)
        after = time.perf_counter()
        best = min(best, (after - before, (before + after) / 2 - wall))
        if best[0] < _TIGHT_S:
            break
    return best[1]
