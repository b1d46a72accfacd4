"""Draws of lengths and tokens, in vLLM's order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.workload.exact import exact_prompt
from llmbench_locust.workload.tokenizer import Tokenizer

Ints = NDArray[np.int64]


def draw_lengths(
    rng: np.random.Generator,
    n: int,
    ratio: tuple[float, float],
    lens: tuple[int, int],
    tokenizer: Tokenizer,
) -> tuple[Ints, Ints, Ints]:
    """(input lengths, output lengths, offsets into the vocabulary), each int64 of shape (n,).

    Uniform over [floor(len · (1 − r)), ceil(len · (1 + r))]. Input lengths exclude the tokenizer's
    special tokens; an output has at least one token.
    """
    own, output_len = own_len(lens[0], tokenizer), lens[1]
    low, high = math.floor(own * (1 - ratio[0])), math.ceil(own * (1 + ratio[0]))
    out_low = max(1, math.floor(output_len * (1 - ratio[1])))
    out_high = max(1, math.ceil(output_len * (1 + ratio[1])))
    return (
        rng.integers(low, high + 1, size=n),
        rng.integers(out_low, out_high + 1, size=n),
        rng.integers(0, tokenizer.vocab_size, size=n),
    )


def tokens_without(tokenizer: Tokenizer, special: list[int]) -> Ints:
    """The vocabulary without ``special`` tokens, in order (int64)."""
    return np.setdiff1d(np.arange(tokenizer.vocab_size), np.array(special, np.int64))


def row(allowed: Ints, begin: int, length: int) -> list[int]:
    """``length`` consecutive tokens from place ``begin``, wrapping around the vocabulary."""
    found: list[int] = allowed[(begin + np.arange(length)) % len(allowed)].tolist()
    return found


def shared_prefix(
    tokenizer: Tokenizer, allowed: Ints, length: int, rng: np.random.Generator
) -> list[int]:
    """Random tokens that begin all prompts; [] for a length of 0."""
    if length < 1:
        return []
    chosen = allowed[rng.integers(0, len(allowed), size=length)].tolist()
    return exact_prompt(tokenizer, chosen, length, drawer(rng, tokenizer))[1]


def drawer(rng: np.random.Generator, tokenizer: Tokenizer) -> Callable[[int], list[int]]:
    def draw(k: int) -> list[int]:
        ids: list[int] = rng.integers(0, tokenizer.vocab_size, size=k).tolist()
        return ids

    return draw


def own_len(length: int, tokenizer: Tokenizer) -> int:
    return max(0, length - int(tokenizer.num_special_tokens_to_add()))
