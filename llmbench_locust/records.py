"""The outcome of one request, and of many requests as columns.

A `RequestRecord` is flat and holds raw times; ``metrics`` derives all other figures later, once.
`RecordColumns` is the same for many requests: numpy arrays that are merged by concatenation and
sent between processes as bytes. All times are seconds on one monotonic clock (`time.perf_counter`
of the master; a worker's times are converted before they are merged).

Missing is NaN in a float column, -1 in an integer column, "" in a text column; never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json

NAN = float("nan")
#: The kind of a request that the simulated user cancelled: neither a success nor a failure.
CANCELLED = "cancelled"
_EMPTY: NDArray[np.float64] = np.empty(0, np.float64)


@dataclass(slots=True)
class RequestRecord:
    """One request's outcome. Times in seconds; NaN if the event never happened.

    ``prompt_len``: tokens by the workload's count. ``input_tokens``, ``output_len``: the server's
    own counts, -1 when it gave none; ``cached_tokens``: those of the input that its prefix cache
    served. ``token_times``: arrival of each token event (float64, shape
    (n_events,)). ``token_counts``: tokens carried by each event (int32, same shape), None when
    every event carried one. ``client_queue_time``: start − due.
    ``server_queue_time``, ``server_ttft``: as the server reported them, the latter from first
    scheduling to the first token. ``error_kind`` is a short stable word to group by: "http_429",
    "dns", "tls", "connect", "timeout", "cut", "server", "protocol", "no_tokens", "interrupted",
    "worker_lost", "client"; "cancelled" is not a failure. ``retried``: the attempts before the last
    one, as JSON; ``start_time`` is that of the first. ``server``: its URL if there are several.
    """

    index: int
    request_id: str = ""
    success: bool = False
    error: str = ""
    error_kind: str = ""
    status: int = -1
    prompt_len: int = 0
    input_tokens: int = -1
    cached_tokens: int = -1
    expected_output_len: int = -1
    output_len: int = -1
    due_time: float = NAN
    start_time: float = NAN
    first_token_time: float = NAN
    first_answer_time: float = NAN
    end_time: float = NAN
    client_queue_time: float = NAN
    connect_s: float = NAN
    server_queue_time: float = NAN
    server_ttft: float = NAN
    token_times: NDArray[np.float64] = field(default_factory=lambda: _EMPTY)
    token_counts: NDArray[np.int32] | None = None
    reasoning_tokens: int = -1
    text: str = ""
    finish_reason: str = ""
    retried: str = ""
    num_sequences: int = 1
    audio_s: float = 0.0
    label: str = ""
    conversation: int = -1
    turn: int = -1
    worker: str = ""
    server: str = ""

    @property
    def last_time(self) -> float:
        """Time of its last token event; its end if it has none or did not succeed."""
        whole = self.success and len(self.token_times)
        return float(self.token_times[-1]) if whole else self.end_time


#: Names of the columns, by the type of their field.
_FLOATS, _INTS, _TEXTS = (
    tuple(f.name for f in fields(RequestRecord) if f.type == kind)
    for kind in ("float", "int", "str")
)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The start of each row and the end of the last: shape (n + 1,) for (n,) lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _joined_counts(parts: Sequence[RequestRecord | RecordColumns]) -> NDArray[np.int32] | None:
    """The token counts of all their events; None if each event carried one token."""
    if all(part.token_counts is None for part in parts):
        return None
    ones = [np.ones(len(part.token_times), np.int32) for part in parts]
    counts = [part.token_counts for part in parts]
    return np.concatenate([o if c is None else c for o, c in zip(ones, counts, strict=True)])


@dataclass(slots=True)
class RecordColumns:
    """Many records as columns; row i of each array is one request.

    ``token_times`` holds all rows' token events one after the other (float64, shape (n_tokens,));
    row i owns ``token_times[token_offsets[i]:token_offsets[i + 1]]`` (int64, shape (n_rows + 1,)).
    ``token_counts`` (int32) has the shape of ``token_times``, or is None when every event carried
    one token.
    """

    success: NDArray[np.bool_]
    floats: dict[str, NDArray[np.float64]]
    ints: dict[str, NDArray[np.int64]]
    texts: dict[str, list[str]]
    token_times: NDArray[np.float64]
    token_offsets: NDArray[np.int64]
    token_counts: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.success)

    @property
    def cancelled(self) -> NDArray[np.bool_]:
        """Which requests the simulated user cancelled (bool, shape (n_rows,))."""
        kinds = self.texts["error_kind"]
        return np.fromiter((kind == CANCELLED for kind in kinds), np.bool_, len(self))

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which requests failed: neither a success nor cancelled (bool, shape (n_rows,))."""
        return ~self.success & ~self.cancelled

    @classmethod
    def from_records(cls, records: Sequence[RequestRecord]) -> RecordColumns:
        lengths = np.fromiter((len(r.token_times) for r in records), np.int64, len(records))
        return cls(
            success=np.fromiter((r.success for r in records), np.bool_, len(records)),
            floats={
                n: np.fromiter((getattr(r, n) for r in records), np.float64, len(records))
                for n in _FLOATS
            },
            ints={
                n: np.fromiter((getattr(r, n) for r in records), np.int64, len(records))
                for n in _INTS
            },
            texts={n: [getattr(r, n) for r in records] for n in _TEXTS},
            token_times=np.concatenate([r.token_times for r in records]) if records else _EMPTY,
            token_offsets=offsets_of(lengths),
            token_counts=_joined_counts(records),
        )

    @classmethod
    def concat(cls, parts: Iterable[RecordColumns]) -> RecordColumns:
        """Rows of all parts, in order. Merging the parts equals building the whole."""
        some = [p for p in parts if len(p)]
        if len(some) == 1:
            return some[0]
        if not some:
            return cls.from_records([])
        lengths = np.concatenate([np.diff(p.token_offsets) for p in some])
        return cls(
            success=np.concatenate([p.success for p in some]),
            floats={n: np.concatenate([p.floats[n] for p in some]) for n in _FLOATS},
            ints={n: np.concatenate([p.ints[n] for p in some]) for n in _INTS},
            texts={n: [t for p in some for t in p.texts[n]] for n in _TEXTS},
            token_times=np.concatenate([p.token_times for p in some]),
            token_offsets=offsets_of(lengths),
            token_counts=_joined_counts(some),
        )

    def take(self, rows: NDArray[np.int64]) -> RecordColumns:
        lengths = np.diff(self.token_offsets)[rows]
        offsets = offsets_of(lengths)
        # Positions in the old token arrays: each row's start, repeated, plus a running count within
        # the row.
        where = np.repeat(self.token_offsets[rows] - offsets[:-1], lengths) + np.arange(
            offsets[-1], dtype=np.int64
        )
        return RecordColumns(
            success=self.success[rows],
            floats={n: a[rows] for n, a in self.floats.items()},
            ints={n: a[rows] for n, a in self.ints.items()},
            texts={n: [t[i] for i in rows] for n, t in self.texts.items()},
            token_times=self.token_times[where],
            token_offsets=offsets,
            token_counts=None if self.token_counts is None else self.token_counts[where],
        )

    def sorted_by_index(self) -> RecordColumns:
        index = self.ints["index"]
        if len(index) < 2 or bool(np.all(index[1:] > index[:-1])):
            return self
        return self.take(np.argsort(index, kind="stable"))

    def shift_times(self, offset_s: float) -> None:
        """Add ``offset_s`` to every absolute time, in place: converts a worker's clock to the
        master's.
        """
        for name in ("due_time", "start_time", "first_token_time", "first_answer_time", "end_time"):
            self.floats[name] += offset_s
        self.token_times += offset_s

    def to_message(self) -> Json:
        """A form for msgpack: arrays as bytes, a text column of empty texts as None."""
        return {
            "n": len(self),
            "success": self.success.tobytes(),
            "floats": {n: a.tobytes() for n, a in self.floats.items()},
            "ints": {n: a.tobytes() for n, a in self.ints.items()},
            "texts": {n: t if any(t) else None for n, t in self.texts.items()},
            "token_times": self.token_times.tobytes(),
            "token_offsets": self.token_offsets.tobytes(),
            "token_counts": None if self.token_counts is None else self.token_counts.tobytes(),
        }

    @classmethod
    def from_message(cls, message: Json) -> RecordColumns:
        n = message["n"]
        counts = message["token_counts"]
        return cls(
            success=np.frombuffer(message["success"], np.bool_).copy(),
            floats={k: np.frombuffer(v, np.float64).copy() for k, v in message["floats"].items()},
            ints={k: np.frombuffer(v, np.int64).copy() for k, v in message["ints"].items()},
            texts={k: v if v is not None else [""] * n for k, v in message["texts"].items()},
            token_times=np.frombuffer(message["token_times"], np.float64).copy(),
            token_offsets=np.frombuffer(message["token_offsets"], np.int64).copy(),
            token_counts=None if counts is None else np.frombuffer(counts, np.int32).copy(),
        )
