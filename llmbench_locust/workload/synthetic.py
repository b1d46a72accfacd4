"""Random texts of given token lengths, draw for draw as vLLM makes them for ``random`` and ``random-mm``.

A text decoded from tokens may encode to another number of them, so it is encoded again and cut or filled until it fits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError


class RandomText:
    """The prompts of one workload. The order of calls matters: prompts draw from ``rng`` where they must be filled."""

    def __init__(self, config: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        self._tokenizer, self._rng = tokenizer, rng
        n, (in_ratio, out_ratio) = config.num_prompts, config.random_range_ratio
        real_len = max(0, config.random_input_len - special_tokens_added(tokenizer))
        least, most = math.floor(real_len * (1 - in_ratio)), math.ceil(real_len * (1 + in_ratio))
        if config.random_prefix_len + least < 1:
            raise ConfigError(
                f"--random-input-len: {config.random_input_len} leaves no token for the prompt beside the tokenizer's special "
                "ones; increase it or --random-prefix-len, or lower --random-range-ratio"
            )
        out_least = max(1, math.floor(config.random_output_len * (1 - out_ratio)))
        out_most = max(1, math.ceil(config.random_output_len * (1 + out_ratio)))
        self._input_lens = rng.integers(least, most + 1, size=n)
        self._output_lens = rng.integers(out_least, out_most + 1, size=n)
        self._offsets = rng.integers(0, tokenizer.vocab_size, size=n)
        self._allowed = allowed_tokens(tokenizer)
        self._prefix = self._make_prefix(config.random_prefix_len)

    def output_len(self, i: int) -> int:
        return int(self._output_lens[i])

    def prompt(self, i: int) -> tuple[str, int]:
        """(text, its tokens without special ones) of request ``i``."""
        length = int(self._input_lens[i])
        inner = self._allowed[(int(self._offsets[i]) + i + np.arange(length)) % len(self._allowed)].tolist()
        text, ids = fitted(self._tokenizer, self._prefix + inner, len(self._prefix) + length, self._rng)
        return text, len(ids)

    def _make_prefix(self, length: int) -> list[int]:
        if length <= 0:
            return []
        ids = self._allowed[self._rng.integers(0, len(self._allowed), size=length)].tolist()
        return fitted(self._tokenizer, ids, length, self._rng)[1]


def fitted(
    tokenizer: Any, ids: list[int], length: int, rng: np.random.Generator, *, attempts: int = 10
) -> tuple[str, list[int]]:
    """(text, its ids) as near to ``length`` tokens as ``attempts`` corrections come."""
    for left in range(attempts, -1, -1):
        text = tokenizer.decode(ids)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) == length or left == 0:
            break
        if len(ids) < length:
            ids = ids + rng.integers(0, tokenizer.vocab_size, size=length - len(ids)).tolist()
        else:
            ids = ids[:length]
    return text, ids


def special_tokens_added(tokenizer: Any) -> int:
    """How many tokens the tokenizer adds around a text."""
    counted = getattr(tokenizer, "num_special_tokens_to_add", None)
    return int(counted()) if counted is not None else len(tokenizer.encode(""))


def allowed_tokens(tokenizer: Any) -> NDArray[np.int64]:
    """All ids but the special ones, placeholders of images among them."""
    added = getattr(tokenizer, "added_tokens_decoder", None)
    special = {i for i, token in added.items() if token.special} if added is not None else set(tokenizer.all_special_ids)
    return np.array([i for i in range(tokenizer.vocab_size) if i not in special], np.int64)
