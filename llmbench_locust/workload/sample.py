"""One request of a workload, as every part of the package sees it. No I/O, no tokenizer, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Text, token ids, a list of either (a batch, for pooling), or chat messages.
Prompt = str | list[int] | list[str] | list[list[int]] | list[dict[str, Any]]


@dataclass(slots=True)
class SampleRequest:
    """What one request asks for.

    ``prompt_len`` and ``expected_output_len`` are in tokens (``expected_output_len`` is None where the backend decides,
    as for pooling it is 0). ``due_s`` is the offset in seconds from the start of the arrivals for workloads that carry
    their own times (traces); None means that the arrival process decides.
    """

    prompt: Prompt
    prompt_len: int
    expected_output_len: int | None
    request_id: str = ""
    multi_modal: dict[str, Any] | list[dict[str, Any]] | None = None
    body_overrides: dict[str, Any] | None = None
    due_s: float | None = None
    label: str | None = None
    chat_messages: list[dict[str, Any]] | None = None
    conversation: int | None = None
    turn: int | None = None
