"""Counts a prompt's tokens: with the package's tokenizer and chat template, or as words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FOLDER = Path(__file__).parent.parent / "data" / "tokenizer"
#: Approximate tokens of a chat template if words are counted: for each message, and for the opening
#: of the response.
_PER_MESSAGE, _PER_PROMPT = 4, 3

#: (role, text) of each message.
Turns = list[tuple[str, str]]


def load_tokenizer() -> Tokenizer:
    """The package's tokenizer."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))


class Counter:
    """Counts words; adds four for each message and three for the opening of the response."""

    def __call__(self, text: str) -> int:
        return len(text.split())

    def units(self, prompt: object) -> list[Hashable]:
        """A prompt as the units that a prefix cache compares: token ids, or words."""
        if isinstance(prompt, str):
            return list(self._split(prompt))
        if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
            return list(prompt)
        turns = prompt if isinstance(prompt, list) else [prompt]
        found: list[Hashable] = []
        for turn in turns:
            # One message is only its text, so that a conversation's next prompt begins with it.
            found += [turn.get("role")] if found and isinstance(turn, dict) else []
            found += self._of_turn(turn)
        return found

    def _of_turn(self, turn: object) -> list[Hashable]:
        if not isinstance(turn, dict):
            return list(self._split(json.dumps(turn)))
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
        rest = {key: turn[key] for key in turn if key not in ("role", "content")}
        return [
            *(
                unit
                for text, part in zip(texts, parts, strict=True)
                for unit in (self._split(text) if isinstance(text, str) else [json.dumps(part)])
            ),
            *(self._split(json.dumps(rest)) if rest else ()),
        ]

    def _split(self, text: str) -> Sequence[Hashable]:
        return text.split()

    def chat(self, turns: Turns) -> int:
        return sum(self(text) + _PER_MESSAGE for _, text in turns) + _PER_PROMPT


class TokenCounter(Counter):
    """Counts like a server with this tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment as Sandbox

        self._encode = tokenizer.encode
        self._template = Sandbox(trim_blocks=True, lstrip_blocks=True).from_string(template)

    def __call__(self, text: str) -> int:
        return len(self._split(text))

    def _split(self, text: str) -> Sequence[Hashable]:
        return self._encode(text, add_special_tokens=False).ids

    def chat(self, turns: Turns) -> int:
        messages = [{"role": role, "content": text} for role, text in turns]
        return self(self._template.render(messages=messages, add_generation_prompt=True))


def make_counter(tokenizer: Tokenizer, by_words: bool) -> Counter:
    if by_words:
        return Counter()
    return TokenCounter(tokenizer, (_FOLDER / "chat_template.jinja").read_text(encoding="utf-8"))
