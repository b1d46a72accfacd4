"""A ticket: one request of the plan and the time that it is due. It travels from the master to a
worker.

Pure: the plan (a list of `SampleRequest` and their offsets) becomes tickets, tickets become
messages that msgpack carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmbench_locust.workload.sample import SampleRequest


@dataclass(slots=True)
class Ticket:
    """``index``: place in the plan. ``due_s``: offset in seconds from the start of the arrivals;
    NaN for a later turn of a conversation (due ``think_s`` after the answer to the turn before).
    ``model``: of LoRA assignment, "" for the run's. ``following``: the later turns of the same
    conversation, to be played by the same worker.
    """

    index: int
    due_s: float
    sample: SampleRequest
    model: str = ""
    think_s: float = 0.0
    following: Sequence[Ticket] = ()

    @property
    def count(self) -> int:
        """Requests that this ticket stands for: itself and its later turns."""
        return 1 + len(self.following)


_SAMPLE_FIELDS = (
    "prompt",
    "prompt_len",
    "expected_output_len",
    "request_id",
    "multi_modal",
    "body_overrides",
    "label",
    "chat_messages",
    "conversation",
    "turn",
)


def to_message(ticket: Ticket) -> list[Any]:
    """Lists, numbers and texts only."""
    sample = [getattr(ticket.sample, name) for name in _SAMPLE_FIELDS]
    following = [to_message(t) for t in ticket.following]
    return [ticket.index, ticket.due_s, sample, ticket.model, ticket.think_s, following]


def from_message(message: list[Any]) -> Ticket:
    index, due_s, sample, model, think_s, following = message
    return Ticket(
        index,
        due_s,
        SampleRequest(**dict(zip(_SAMPLE_FIELDS, sample, strict=True))),
        model,
        think_s,
        tuple(from_message(m) for m in following),
    )


def weight(ticket: Ticket) -> int:
    """Bytes that the ticket takes in a message, roughly: what bounds a batch."""
    return (
        _size(ticket.sample.prompt)
        + _size(ticket.sample.multi_modal)
        + 200
        + sum(map(weight, ticket.following))
    )


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
