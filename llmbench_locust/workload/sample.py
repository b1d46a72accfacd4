"""One request of a workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmbench_locust.json_types import Json
from llmbench_locust.records import RequestRecord

#: Text, token ids, a list of either (a batch, for pooling), or chat messages.
Prompt = str | list[int] | list[str] | list[list[int]] | list[Json]

#: Called with (requests made, requests wanted) while a dataset is loaded.
Progress = Callable[[int, int], None]


def silent(made: int, wanted: int) -> None:
    """Shows no progress."""


@dataclass(slots=True)
class SampleRequest:
    """One request.

    ``prompt_len`` and ``expected_output_len`` are in tokens (``expected_output_len`` is None if the
    backend decides, and 0 for pooling). ``due_s``, for workloads with recorded times (traces), is
    the offset in seconds from the start of the arrivals, before ``--trace-speedup``; None: the
    arrival process decides.

    ``multi_modal`` has one of two forms, both of which msgpack can encode:

    * for chat bodies, one content part of OpenAI's chat API or a list of them, placed after the
      text: ``{"type": "image_url", "image_url": {"url": ...}}``, ``{"type": "video_url",
      "video_url": {"url": ...}}``, ``{"type": "input_audio", "input_audio": {"data": base64,
      "format": "wav"}}``;
    * for ``openai-audio``, ``{"audio": bytes of an audio file, "filename": its name, "duration_s":
      seconds}``.

    ``chat_messages``, if set, are sent unchanged (`prompt` and ``multi_modal`` are not added).
    ``body_overrides`` are merged into the body last. ``conversation`` and ``turn`` (both from 0)
    identify the session: see `llmbench_locust.workload.multi_turn`. A later turn is sent
    ``delay_s`` seconds (None: the think time) after all turns in ``parents`` are answered (None:
    the previous turn; (): none, it starts with the session). Its messages follow those of the turn
    ``history`` and its response (None: the previous turn; -1: the request is already complete).
    ``reference``: the right answer for ``--check-answers exact``; it is not sent to workers.
    """

    prompt: Prompt
    prompt_len: int
    expected_output_len: int | None
    request_id: str = ""
    multi_modal: Json | list[Json] | None = None
    body_overrides: Json | None = None
    due_s: float | None = None
    label: str | None = None
    chat_messages: list[Json] | None = None
    conversation: int | None = None
    turn: int | None = None
    parents: Sequence[int] | None = None
    delay_s: float | None = None
    history: int | None = None
    reference: str | None = None

    @property
    def waits_for(self) -> Sequence[int]:
        """The turns that must be answered before this one is sent."""
        return (() if not self.turn else (self.turn - 1,)) if self.parents is None else self.parents

    @property
    def continues(self) -> int:
        """The turn whose messages and response precede this one's; -1 for none."""
        return (self.turn or 0) - 1 if self.history is None else self.history

    def record(self, index: int) -> RequestRecord:
        """A record of this request, without an outcome. ``index``: its place in the plan."""
        wanted, conversation, turn = self.expected_output_len, self.conversation, self.turn
        return RequestRecord(
            index,
            self.request_id,
            prompt_len=self.prompt_len,
            expected_output_len=-1 if wanted is None else wanted,
            label=self.label or "",
            conversation=-1 if conversation is None else conversation,
            turn=-1 if turn is None else turn,
        )

    def to_messages(self) -> None:
        """For --enable-multimodal-chat: turn the prompt into messages that include the media."""
        if self.chat_messages is None:
            media = self.multi_modal
            parts = media if isinstance(media, list) else [media] if media else []
            content = [{"text": self.prompt, "type": "text"}, *parts]
            self.chat_messages = [{"role": "user", "content": content}]
            self.multi_modal = None
        self.prompt = self.chat_messages
