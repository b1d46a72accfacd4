"""Feeds an answer's bytes through the transport's own reader into a protocol's sink, without a
socket.
"""

from llmbench_locust.transport.assembly import StreamAssembly
from llmbench_locust.transport.exchange import Exchange
from llmbench_locust.users.protocols import protocol_for
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


def wire(backend, **more):
    from llmbench_locust.backends import backend_info

    info = backend_info(backend)
    sampling = (
        {"temperature": 0.0} if "temperature" in info.sampling and info.kind == "generation" else {}
    )
    fields = {
        "endpoint": info.endpoint,
        "model": "m",
        "sampling": sampling,
        "keep_text": True,
        **more,
    }
    return WireConfig(backend=backend, base_urls=["http://h"], **fields)


def protocol(backend, **more):
    return protocol_for(backend)(wire(backend, **more))


def read(
    backend,
    body,
    *,
    status=200,
    content_type="text/event-stream",
    whole=True,
    cut=None,
    sample=None,
    chunks=None,
    **more,
):
    """The record of one answer. ``chunks``: sizes to cut the body into (default: one chunk for each
    event).
    """
    spoken = protocol(backend, **more)
    sample = sample or SampleRequest("hello", 3, 16, request_id="r0")
    sink = spoken.sink(sample)
    assembly = StreamAssembly(sink)
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    if isinstance(body, str):
        body = body.encode()
    if chunks is None:
        end = b"\n\n" if b"\n\n" in body else b"\n"
        pieces = [p + end for p in body.split(end) if p]
    else:
        pieces = [body[i : i + chunks] for i in range(0, len(body), chunks)]
    raw = [head, *(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)]
    if whole:
        raw.append(b"0\r\n\r\n")
    for i, piece in enumerate(raw):
        assembly.arrivals += [float(i), piece]
    assembly.decode()
    if not assembly.done:
        assembly.close(float(len(raw)))
    exchange = Exchange(start_time=0.0)
    fill(exchange, assembly)
    return spoken.record(0, sample, exchange, sink)


def fill(exchange, assembly):
    from llmbench_locust.transport.client import _fill

    _fill(exchange, assembly)
