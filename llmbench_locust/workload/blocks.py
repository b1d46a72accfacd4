"""Prompts made of blocks: equal hash ids give equal tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from llmbench_locust.workload.sample import Prompt
from llmbench_locust.workload.tokenizer import Tokenizer


class Blocks:
    """The tokens of a hash id, always the same; equal blocks are in memory once."""

    def __init__(self, tokenizer: Tokenizer, size: int, seed: int | str, *, as_text: bool) -> None:
        special = set(tokenizer.all_special_ids)
        self._tokens = np.array([t for t in range(tokenizer.vocab_size) if t not in special])
        self._tokenizer, self.size, self._seed, self._as_text = tokenizer, size, seed, as_text
        self._known: dict[int | str, list[int]] = {}
        self._texts: dict[tuple[int | str, int], str] = {}
        self._count = 0

    def prompt(self, hashes: Sequence[int | str], length: int, own: str) -> Prompt:
        """``length`` tokens: the blocks of ``hashes``, cut at the end; the rest by ``own``."""
        parts: list[tuple[int | str, int]] = []
        left = length
        for key in hashes:
            if left <= 0:
                break
            parts.append((key, min(self.size, left)))
            left -= self.size
        if self._as_text:
            text = "".join(self._text(key, n) for key, n in parts)
            return text + self._tokenizer.decode(self._make(own, left)) if left > 0 else text
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
            self._texts[key, n] = self._tokenizer.decode(self._block(key)[:n])
        return self._texts[key, n]

    def _make(self, key: int | str, n: int) -> list[int]:
        """``n`` random tokens by seed and key; the first counts up, so that no two begin alike."""
        digest = hashlib.blake2b(f"{self._seed}/{key!r}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest))
        made = self._tokens[rng.integers(0, len(self._tokens), n)]
        made[0] = self._tokens[self._count % len(self._tokens)]
        self._count += 1
        found: list[int] = made.tolist()
        return found
