"""The types of messages between master and workers, and their encoding.

Between processes a message is sent as a flat dict for msgpack; within one process it is passed
unencoded. Each has the id of its run; messages of another run are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.dispatch import tickets
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.records import RecordColumns
from llmbench_locust.users.wire import WireConfig

logger = logging.getLogger(__name__)

Indexes = NDArray[np.int64]
Seconds = NDArray[np.float64]


class Codec(NamedTuple):
    """Encodes a field that msgpack does not support."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


#: By the type of the field; msgpack encodes the others itself.
_CODECS: dict[object, Codec] = {
    list[Ticket]: Codec(
        lambda some: [tickets.to_message(t) for t in some],
        lambda some: [tickets.from_message(t) for t in some],
    ),
    list[WireConfig]: Codec(
        lambda some: [asdict(wire) for wire in some],
        lambda some: [WireConfig(**wire) for wire in some],
    ),
    RecordColumns | None: Codec(
        lambda columns: None if columns is None else columns.to_message(),
        lambda message: None if message is None else RecordColumns.from_message(message),
    ),
    Indexes: Codec(lambda a: a.tobytes(), lambda b: np.frombuffer(b, np.int64)),
    Seconds: Codec(lambda a: a.tobytes(), lambda b: np.frombuffer(b, np.float64)),
}


@dataclass(slots=True)
class Message:
    """``run``: the id of the run. ``kind``: Locust's message type."""

    kind: ClassVar[str]
    run: str

    def __init_subclass__(cls) -> None:
        cls.kind = f"llmbench_{cls.__name__.lower()}"


@dataclass(slots=True)
class Numbered(Message):
    """A message that must not be lost, not even with its connection: it is resent until it is
    acknowledged, and handled once. ``seq``: -1 within one process, which loses nothing.
    """

    seq: int = field(default=-1, kw_only=True)


# --- master → worker


@dataclass(slots=True)
class Plan(Message):
    """A run begins. ``wires``: one for each backend, the main one first. ``id_prefix``: of requests
    without an id. ``permits``: how many requests may be in flight here, None without a limit; with
    ``sessions``, how many sessions. ``tasks``: requests come from users' own tasks, not from
    tickets.
    """

    permits: int | None
    prewarm: int
    chat: bool
    sessions: bool
    tasks: bool
    id_prefix: str
    wires: list[WireConfig]


@dataclass(slots=True)
class Ping(Message):
    """``sent_s``: by the master's clock."""

    sent_s: float


@dataclass(slots=True)
class Tickets(Numbered):
    tickets: list[Ticket]


@dataclass(slots=True)
class Go(Numbered):
    """Arrivals start, and requests may be started until ``lease_s``; by the worker's clock."""

    start_s: float
    lease_s: float


@dataclass(slots=True)
class Lease(Message):
    """Requests may be started until ``until_s``, by the worker's clock."""

    until_s: float


@dataclass(slots=True)
class Grant(Numbered):
    """``permits`` more requests may be in flight."""

    permits: int


@dataclass(slots=True)
class Recall(Numbered):
    """Give back at most this many unused permits; `Returned` answers."""

    permits: int


@dataclass(slots=True)
class Ack(Message):
    """The report or numbered message ``seq`` has arrived."""

    seq: int


@dataclass(slots=True)
class Halt(Numbered):
    """Start nothing more; users with their own tasks stop."""


@dataclass(slots=True)
class Stop(Message):
    """Abort requests in flight, report them, and forget the run."""


# --- worker → master


@dataclass(slots=True)
class Arrived(Message):
    """The numbered message ``seq`` has arrived."""

    seq: int


@dataclass(slots=True)
class Ready(Message):
    """``prewarmed``: open connections. ``refused``: why the worker cannot take part."""

    clock: str
    prewarmed: int
    pid: int
    host: str
    refused: str = ""


@dataclass(slots=True)
class Pong(Message):
    """``sent_s`` of the ping, ``worker_s`` by the worker's clock."""

    sent_s: float
    worker_s: float


@dataclass(slots=True)
class Returned(Numbered):
    """The answer to `Recall`."""

    permits: int


@dataclass(slots=True)
class Report(Message):
    """What happened on a worker since its last report, and its counters since the run began.

    ``seq`` numbers the reports with requests (they are resent until acknowledged); -1 for one with
    figures only. ``sent``, ``unsent``: indexes. ``records``: outcomes, on the worker's clock.
    ``closed``: the last report. Times and lags in seconds.
    """

    seq: int
    in_flight: int
    waiting: int
    free: int
    offered: int
    overflow: int
    resent: int
    kernel_times: bool
    reader: str
    most_connections: int
    most_in_use: int
    idle_excess_s: float
    queue_wait_s: float
    lapsed_s: float
    shared_chunks: int
    token_events: int
    cpu_s: float
    clock_s: float
    closed: bool
    records: RecordColumns | None
    sent: Indexes
    unsent: Indexes
    ttft_s: Seconds
    send_lag_s: Seconds
    loop_lag_s: Seconds


TO_WORKER: tuple[type[Message], ...] = (
    *(Plan, Ping, Tickets, Go, Lease),
    *(Grant, Recall, Ack, Halt, Stop),
)
TO_MASTER: tuple[type[Message], ...] = (Ready, Pong, Returned, Report, Arrived)
_BY_KIND = {message.kind: message for message in (*TO_WORKER, *TO_MASTER)}


@cache
def _fields(kind: str) -> list[tuple[str, Any]]:
    """(name, type) of each field of a message. Computed on demand: a single process needs none."""
    cls = _BY_KIND[kind]
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name]) for f in fields(cls)]


class Malformed(Exception):
    """A message that cannot be decoded, or with a request that is not in the run."""


def encode(message: Message) -> Json:
    found = {}
    for name, hint in _fields(message.kind):
        value, codec = getattr(message, name), _CODECS.get(hint)
        found[name] = value if codec is None else codec.encode(value)
    return found


def decode(kind: str, data: JsonValue) -> Message:
    """Undoes `encode`; a `Message` stays as it is. Raises Malformed."""
    if isinstance(data, Message):
        return data
    try:
        cls = _BY_KIND[kind]
        values = {}
        for name, hint in _fields(kind):
            value, codec = data[name], _CODECS.get(hint)
            if codec is not None:
                value = codec.decode(value)
            elif not isinstance(value, int | float if hint is float else hint):
                raise TypeError(f"{name} is a {type(value).__name__}")
            values[name] = value
        return cls(**values)
    except Exception as e:  # anything that invalid bytes may raise
        raise Malformed(f"{type(e).__name__}: {e}") from e


#: Handler of one type of message: gets the message and the id of the sender.
Handler = Callable[[Any, str], None]


class Inbox:
    """Passes each message to the handler of its type. A message that is malformed, also by its
    handler's judgement, is dropped and logged once for each kind.
    """

    def __init__(self, handlers: Mapping[type[Message], Handler]) -> None:
        self._handlers = handlers
        self._logged: set[str] = set()

    def receive(self, kind: str, data: object, sender: str) -> None:
        try:
            message = decode(kind, data)
            self._handlers[type(message)](message, sender)
        except Malformed as e:
            if kind not in self._logged:
                self._logged.add(kind)
                logger.warning("dropped a malformed %s from %s: %s", kind, sender or "master", e)
