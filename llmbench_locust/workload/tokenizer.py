"""The interface of tokenizers. `tokenizers` loads one."""

from __future__ import annotations

from typing import Protocol

from llmbench_locust.json_types import Json, JsonValue

Messages = list[Json]


class Tokenizer(Protocol):
    """Ids are below ``vocab_size``, except for added tokens. ``name``: its name in reports."""

    name: str
    vocab_size: int
    chat_template: str | None

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the named special tokens, each once."""

    @property
    def added_special_ids(self) -> list[int]:
        """Ids of all special tokens added to the vocabulary, named or not."""

    def num_special_tokens_to_add(self) -> int: ...

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...

    def encode_batch(
        self, texts: list[str], add_special_tokens: bool = False
    ) -> list[list[int]]: ...

    def count_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[int]:
        """The number of tokens of each text."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str: ...

    def decode_batch(
        self, batch: list[list[int]], skip_special_tokens: bool = False
    ) -> list[str]: ...

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = True, **more: JsonValue
    ) -> str:
        """The conversation as one text. Raises ConfigError without a template."""
