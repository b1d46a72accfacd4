"""Prompts made of blocks: equal hash ids give equal tokens.

As text they are space-separated words of one token each. Words encode the same whatever is next to
them, so a prompt has exactly the number of tokens in its trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.workload.sample import Prompt
from llmbench_locust.workload.tokenizer import Tokenizer

#: With fewer one-token words than this, text prompts are decoded from any tokens instead.
LEAST_WORDS = 100


class Blocks:
    """The tokens of each hash id, always the same and in memory once."""

    def __init__(self, tokenizer: Tokenizer, size: int, seed: int | str, *, as_text: bool) -> None:
        self._tokens = _ordinary(tokenizer)
        self._lead, self._words = _words(tokenizer, self._tokens) if as_text else ("", {})
        if self._words:
            self._tokens = np.array(list(self._words))
        self._tokenizer, self.as_text = tokenizer, as_text
        self._begin(size, seed)

    def _begin(self, size: int, seed: int | str) -> None:
        self.size, self._seed = size, seed
        self._known: dict[int | str, list[int]] = {}
        self._texts: dict[tuple[int | str, int], str] = {}
        self._count = 0

    def others(self, size: int, seed: int | str) -> Blocks:
        """Blocks of the same tokenizer with other tokens for each hash id."""
        found = copy(self)
        found._begin(size, seed)
        return found

    def prompt(self, hashes: Sequence[int | str], length: int, own: str) -> Prompt:
        """``length`` tokens: the blocks of ``hashes``, truncated; the rest by ``own``."""
        parts: list[tuple[int | str, int]] = []
        left = length
        for key in hashes:
            if left <= 0:
                break
            parts.append((key, min(self.size, left)))
            left -= self.size
        if self.as_text:
            texts = [self._text(key, n) for key, n in parts]
            if left > 0:
                texts.append(self._decode(self._make(own, left)))
            return self._lead + (" " if self._words else "").join(texts)
        ids: list[int] = []
        for key, n in parts:
            block = self._block(key)
            ids += block if n == self.size else block[:n]
        return ids + self._make(own, left) if left > 0 else ids

    def _block(self, key: int | str) -> list[int]:
        if key not in self._known:
            self._known[key] = self._make(key, self.size)
        return self._known[key]

    def _text(self, key: int | str, n: int) -> str:
        if (key, n) not in self._texts:
            self._texts[key, n] = self._decode(self._block(key)[:n])
        return self._texts[key, n]

    def _decode(self, ids: list[int]) -> str:
        if not self._words:
            return self._tokenizer.decode(ids)
        return " ".join([self._words[i] for i in ids])

    def _make(self, key: int | str, n: int) -> list[int]:
        """``n`` random tokens by seed and key; the first one differs from block to block."""
        digest = hashlib.blake2b(f"{self._seed}/{key!r}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest))
        made = self._tokens[rng.integers(0, len(self._tokens), n)]
        made[0] = self._tokens[self._count % len(self._tokens)]
        self._count += 1
        found: list[int] = made.tolist()
        return found


def _ordinary(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """The vocabulary without special tokens."""
    special = set(tokenizer.all_special_ids)
    return np.array([t for t in range(tokenizer.vocab_size) if t not in special])


def _words(tokenizer: Tokenizer, tokens: NDArray[np.int64]) -> tuple[str, dict[int, str]]:
    """(prefix of each text, the word of each token that is one); no words if there are too few.
    The prefix is a space, unless the tokenizer adds one itself.
    """
    pairs = tokens.repeat(2).reshape(-1, 2).tolist()
    texts = [text.split() for text in tokenizer.decode_batch(pairs)]
    spoken = [
        (pair, text[0])
        for pair, text in zip(pairs, texts, strict=True)
        if len(text) == 2 and text[0] == text[1] and text[0].isalpha()
    ]
    best: tuple[str, dict[int, str]] = ("", {})
    for lead in (" ", ""):
        written = [f"{lead}{word} {word}" for _, word in spoken]
        encoded = tokenizer.encode_batch(written)
        kept = {
            pair[0]: word for (pair, word), ids in zip(spoken, encoded, strict=True) if ids == pair
        }
        if len(kept) > len(best[1]):
            best = (lead, kept)
    return best if len(best[1]) >= LEAST_WORDS else ("", {})
