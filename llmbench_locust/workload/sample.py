"""One request of a workload, as every part of the package sees it."""

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
    """Progress that nobody sees."""


@dataclass(slots=True)
class SampleRequest:
    """What one request asks for.

    ``prompt_len`` and ``expected_output_len`` are in tokens (``expected_output_len`` is None where
    the backend decides, as for pooling it is 0). ``due_s`` is the offset in seconds from the start
    of the arrivals for workloads that carry their own times (traces), not divided by
    ``--trace-speedup``; None means that the arrival process decides.

    ``multi_modal`` comes in one of two forms, both of which msgpack carries:

    * for chat bodies, one content part or a list of them as OpenAI's chat API has them, to stand
      after the text: ``{"type": "image_url", "image_url": {"url": ...}}``, ``{"type": "video_url",
      "video_url": {"url": ...}}``, ``{"type": "input_audio", "input_audio": {"data": base64,
      "format": "wav"}}``;
    * for ``openai-audio``, ``{"audio": bytes of a sound file, "filename": its name, "duration_s":
      seconds}``.

    ``chat_messages``, when set, are the messages as they are to be sent (`prompt` and
    ``multi_modal`` are not added), and ``body_overrides`` are merged into the body last.
    ``conversation`` and ``turn`` (both from 0) tell which requests belong to one session: see
    `llmbench_locust.workload.multi_turn`. A later turn is sent ``delay_s`` seconds (None: the think
    time) after the turns ``parents`` are all answered; None is the turn before, () starts with the
    session. Its own messages follow those of the turn ``history`` and the response to it; None is
    the turn before, -1 none: the request is complete as it stands. ``reference``: the right answer,
    for ``--check-answers exact``; it stays on the master.
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
        """The turn whose messages and response stand before this one's own; -1 for none."""
        return (self.turn or 0) - 1 if self.history is None else self.history

    def record(self, index: int) -> RequestRecord:
        """The record of this request, without an outcome yet. ``index``: its place in the plan."""
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
        """For --enable-multimodal-chat: the prompt becomes messages that hold the media."""
        if self.chat_messages is None:
            media = self.multi_modal
            parts = media if isinstance(media, list) else [media] if media else []
            content = [{"text": self.prompt, "type": "text"}, *parts]
            self.chat_messages = [{"role": "user", "content": content}]
            self.multi_modal = None
        self.prompt = self.chat_messages
