"""``python -m llmbench_locust.workload.maker``: makes the requests of a stream in a process of its
own. It is sent a pickled `Stream` and sends back lists of requests, both with their lengths before
them, until the other side closes. A full socket makes it wait.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys

from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import BATCH, Stream

#: The length of what follows, in bytes.
LENGTH = struct.Struct("<Q")
#: Requests in one message: unpickling them must not hold up the loop that sends.
PIECE = 32


def main() -> None:
    os.nice(5)  # what sends and reads comes first
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    (length,) = LENGTH.unpack(source.read(LENGTH.size))
    stream: Stream = pickle.loads(source.read(length))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while made := stream.take(BATCH):
            for begin in range(0, len(made), PIECE):
                sink.write(packed(made[begin : begin + PIECE]))
            sink.flush()
        return
    os._exit(0)  # nobody reads: what is buffered cannot be flushed


def packed(value: Stream | list[SampleRequest]) -> bytes:
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


if __name__ == "__main__":
    main()
