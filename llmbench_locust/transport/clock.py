"""Kernel receive timestamps (SO_TIMESTAMPNS) on the clock of `time.perf_counter`.

The kernel stamps a packet when it arrives, however late this process reads it: the client's own scheduling delay leaves TTFT
and ITL. One read that holds several packets has the time of the last. The stamps are wall-clock; the distance between the two
clocks is measured anew each second, so that a step of the wall clock spoils no more than a second.
"""

from __future__ import annotations

import _socket
import socket
import struct
import time

from llmbench_locust.transport.tls import TlsLayer

SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; Python has no name for it
_READ_BYTES = 16 << 10
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_ANCHOR_S = 1.0


class KernelClock:
    """Receives with the kernel's time of arrival."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._anchored = float("-inf")

    def receive(self, sock: _socket.socket, tls: TlsLayer | None) -> tuple[bytes, float]:
        """Bytes and their time of arrival in seconds of `time.perf_counter`; raises what ``recv`` raises.

        A packet without a stamp (the end of the stream has none) has the time of the read.
        """
        data, ancillary, _flags, _address = sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
        now = time.perf_counter()
        if now - self._anchored > _ANCHOR_S:
            self._anchored = now
            self._offset = _offset()
        time_s = now
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                # A stamp of the future is a clock that was set; the read is the later bound.
                time_s = min(now, seconds + self._offset + nanoseconds * 1e-9)
        return (data if tls is None else tls.decrypt(data)), time_s


def _offset() -> float:
    """perf_counter minus CLOCK_REALTIME, in seconds: the tightest of a few readings."""
    best = (float("inf"), 0.0)
    for _ in range(5):
        before = time.perf_counter()
        wall = time.clock_gettime(time.CLOCK_REALTIME)
        after = time.perf_counter()
        best = min(best, (after - before, (before + after) / 2 - wall))
    return best[1]
