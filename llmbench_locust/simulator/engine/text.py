"""The simulated model's output: a vocabulary as JSON-escaped bytes, and a response's plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import orjson

_WORDS = (
    " the of and to in is that for it as was with be by on not he his but at are this have from or "
    "had an they which one you were her all she there would their we him been has when who will "
    "more no if out so said what up its about into than them can only other new some could time "
    "these two may then do first any my now such like our over man me even most made after also "
    "did many before must through back years where much your way well down should because each "
    "just those people how too little state good very make world still own see men work long get "
    "here between both life being under never day same"
)
PLAIN = tuple(" " + word for word in _WORDS.split())
#: Characters of two, three and four bytes, separators at which lines must not be split, escapes, an
#: empty token.
ODD = (
    *(" é", " ü", "日本", "語", " 😀", "\u2028", "\u2029", ' "quoted"', " back\\slash", "\n", "\t"),
    *("\u0085", " Ω", "\x7f"),
)
UNICODE = tuple(
    token for pair in zip(PLAIN, ODD * (len(PLAIN) // len(ODD) + 1), strict=False) for token in pair
)


def escaped(text: str) -> bytes:
    """The content of a JSON string as UTF-8."""
    return orjson.dumps(text)[1:-1]


class Vocabulary:
    """Tokens in a fixed circular order; `take` is a slice, so that long responses are cheap."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._size = len(tokens)
        self._ring = [escaped(token) for token in tokens]

    def take(self, start: int, count: int) -> list[bytes]:
        start %= self._size
        ring = self._ring
        while len(ring) < start + count:
            ring = ring + ring
        self._ring = ring
        return ring[start : start + count]


@dataclass(slots=True)
class Plan:
    """The events of one response.

    ``pieces``: the JSON-escaped text of each event. ``cumulative``: tokens after each event, None
    if each has one. ``reasoning``: how many of the first events are reasoning. ``tool``: the
    events after those are a tool call's arguments. ``draft_tokens``: proposed in each step of
    speculative decoding; 0 without it.
    """

    pieces: list[bytes]
    tokens: int
    finish: str
    cumulative: list[int] | None = None
    reasoning: int = 0
    tool: bool = False
    draft_tokens: int = 0

    def tokens_after(self, index: int) -> int:
        return index + 1 if self.cumulative is None else self.cumulative[index]

    @property
    def reasoning_tokens(self) -> int:
        return self.tokens_after(self.reasoning - 1) if self.reasoning else 0

    def text(self, first: int = 0, last: int | None = None) -> bytes:
        return b"".join(self.pieces[first:last])


def grouped(texts: list[bytes], sizes: list[int]) -> tuple[list[bytes], list[int]]:
    """Merge tokens into events of the given sizes, which must cover all; the last may be short."""
    pieces: list[bytes] = []
    cumulative: list[int] = []
    done = 0
    for size in sizes:
        if done >= len(texts):
            break
        end = min(len(texts), done + size)
        pieces.append(b"".join(texts[done:end]))
        cumulative.append(end)
        done = end
    return pieces, cumulative


def prompt_sha(prompt: object) -> str:
    """First 16 hex digits of sha256 over the prompt's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]
