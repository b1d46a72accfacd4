"""``python -m llmbench_locust.workload.maker``: a process that makes the requests of a stream.

It receives a pickled `Stream` and sends lists of requests, each message after its length, until the
other side closes the socket. It blocks while the socket buffer is full.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys

from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import BATCH, Stream

#: The length of the message, in bytes.
LENGTH = struct.Struct("<Q")
#: Requests per message: few, so that unpickling them does not block the sending loop.
PIECE = 32


def main() -> None:
    os.nice(5)  # the process that sends and reads has priority
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    (length,) = LENGTH.unpack(source.read(LENGTH.size))
    stream: Stream = pickle.loads(source.read(length))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while made := stream.take(BATCH):
            for begin in range(0, len(made), PIECE):
                sink.write(packed(made[begin : begin + PIECE]))
            sink.flush()
        return
    os._exit(0)  # skips flushing: the reader is gone


def packed(value: Stream | list[SampleRequest]) -> bytes:
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


if __name__ == "__main__":
    main()
