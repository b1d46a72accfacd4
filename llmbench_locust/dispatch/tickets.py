"""A ticket is one request of the plan with its due time, sent from the master to a worker.

Pure: makes tickets from the plan (a list of `SampleRequest` and their offsets), and messages for
msgpack from tickets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from llmbench_locust.json_types import JsonValue
from llmbench_locust.workload.multi_turn import next_request
from llmbench_locust.workload.sample import SampleRequest


@dataclass(slots=True)
class Ticket:
    """``index``: position in the plan. ``due_s``: offset in seconds from the start of the arrivals;
    NaN for a later turn of a session (due ``think_s`` after the responses that it waits for, and
    not before ``pace_s`` after those requests began). ``model``: the LoRA model, "" for the run's.
    ``following``: the later turns of the same session, performed by the same worker. ``play``: the
    session, once a worker performs it.
    """

    index: int
    due_s: float
    sample: SampleRequest
    model: str = ""
    think_s: float = 0.0
    pace_s: float = 0.0
    following: Sequence[Ticket] = ()
    play: Play | None = None

    @property
    def count(self) -> int:
        """Number of requests of this ticket, including later turns."""
        return 1 + len(self.following)


class Play:
    """A running session: which of its requests can be sent next. No clock, no network.

    ``head``: its first ticket, with the others in ``following``. ``chat``: whether bodies have
    messages.
    """

    def __init__(self, head: Ticket, chat: bool) -> None:
        self._chat = chat
        self._left = {ticket.sample.turn: ticket for ticket in head.following}
        self._open = 1
        # By turn: when its response was complete, the request as sent, and the response.
        self._answered: dict[int | None, tuple[float, SampleRequest, str]] = {}
        self._began: dict[int | None, float] = {}

    @property
    def over(self) -> bool:
        """Whether no request is left, in flight or due."""
        return not self._open

    def roots(self) -> list[Ticket]:
        """Requests besides the first one that wait for no other."""
        return self._take([t for t in self._left.values() if not t.sample.waits_for])

    def answered(
        self, ticket: Ticket, end_s: float, text: str, began_s: float = 0.0
    ) -> list[tuple[Ticket, float]]:
        """(ticket, due time) of the requests that waited for this response, ready to send.

        ``end_s``: when the response was complete. ``began_s``: when the request was due.
        """
        self._open -= 1
        self._answered[ticket.sample.turn] = (end_s, ticket.sample, text)
        self._began[ticket.sample.turn] = began_s
        done = self._answered.keys()
        able = [t for t in self._left.values() if done >= set(t.sample.waits_for)]
        return [(t, max(self._after(t, p) for p in t.sample.waits_for)) for t in self._take(able)]

    def _after(self, ticket: Ticket, parent: int) -> float:
        """When ``ticket`` may be sent with regard to one of the requests that it waits for."""
        began_s, (end_s, _, _) = self._began[parent], self._answered[parent]
        return max(end_s + ticket.think_s, began_s + ticket.pace_s)

    def failed(self, ticket: Ticket) -> list[int]:
        """Indexes of the requests that can never be sent, because they need this response.

        Other branches of the session continue.
        """
        self._open -= 1
        lost, dropped = {ticket.sample.turn}, []
        while found := [t for t in self._left.values() if lost & set(t.sample.waits_for)]:
            for t in found:
                del self._left[t.sample.turn]
                lost.add(t.sample.turn)
                dropped.append(t.index)
        return dropped

    def stop(self) -> list[int]:
        """Send nothing more. Returns the indexes of the remaining requests."""
        left = [ticket.index for ticket in self._left.values()]
        self._left.clear()
        return left

    def _take(self, some: list[Ticket]) -> list[Ticket]:
        self._open += len(some)
        for ticket in some:
            del self._left[ticket.sample.turn]
        return [replace(ticket, sample=self._whole(ticket.sample), play=self) for ticket in some]

    def _whole(self, sample: SampleRequest) -> SampleRequest:
        if sample.continues < 0:
            return sample
        _, before, text = self._answered[sample.continues]
        return next_request(before, text, sample, None, self._chat)


#: ``due_s`` stays with the master: the ticket has its own.
_SAMPLE_FIELDS = [field.name for field in fields(SampleRequest) if field.name != "due_s"]


def to_message(ticket: Ticket) -> list[JsonValue]:
    """The ticket as lists, numbers and texts."""
    sample = [getattr(ticket.sample, name) for name in _SAMPLE_FIELDS]
    following = [to_message(t) for t in ticket.following]
    own = [ticket.index, ticket.due_s, ticket.model, ticket.think_s, ticket.pace_s]
    return [*own, sample, following]


def from_message(message: list[JsonValue]) -> Ticket:
    index, due_s, model, think_s, pace_s, values, following = message
    sample = SampleRequest(**dict(zip(_SAMPLE_FIELDS, values, strict=True)))
    rest = tuple(from_message(m) for m in following)
    return Ticket(index, due_s, sample, model, think_s, pace_s, rest)


def weight(ticket: Ticket) -> int:
    """Approximate bytes of the ticket in a message, which limit a batch."""
    own = 200 + _size(ticket.sample.prompt) + _size(ticket.sample.multi_modal)
    return own + sum(map(weight, ticket.following))


def _size(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(_size(v) for v in value.values())
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], int):
            return 4 * len(value)
        return sum(_size(v) for v in value)
    return 8
