"""Prompts of an exact number of tokens: token ids that decode to a text which encodes to as many. Seed for seed vLLM's way.

Tokens that follow each other need not survive decoding and encoding: the text is encoded again, cut or lengthened with random
tokens, and tried again, ten times at most. The first try is made for all prompts at once, by the library's own threads; only
those that missed go one by one, in order, because they draw from one generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

TRIES = 10
#: Prompts that are decoded and encoded in one call.
BATCH = 256

#: Draws so many random token ids.
Draw = Callable[[int], list[int]]
Progress = Callable[[int, int], None] | None


def exact_prompts(
    tokenizer: Any, sequences: Sequence[list[int]], targets: Sequence[int], draw: Draw, progress: Progress = None
) -> list[tuple[str, list[int]]]:
    """(text, its token ids) for each sequence; the number of ids is the target, unless ten tries were not enough."""
    found: list[tuple[str, list[int]]] = []
    for begin in range(0, len(sequences), BATCH):
        part = sequences[begin : begin + BATCH]
        texts = tokenizer.decode_batch(list(part))
        encoded = tokenizer.encode_batch(texts)
        for text, ids, target in zip(texts, encoded, targets[begin : begin + BATCH], strict=True):
            found.append((text, ids) if len(ids) == target else _retry(tokenizer, ids, target, draw))
        if progress is not None:
            progress(min(begin + BATCH, len(sequences)), len(sequences))
    return found


def exact_prompt(tokenizer: Any, ids: list[int], target: int, draw: Draw) -> tuple[str, list[int]]:
    """The same for one."""
    return exact_prompts(tokenizer, [ids], [target], draw)[0]


def _retry(tokenizer: Any, ids: list[int], target: int, draw: Draw) -> tuple[str, list[int]]:
    """Go on after a first try that gave ``ids``, which are not ``target`` many."""
    for left in range(TRIES - 1, -1, -1):
        ids = ids + draw(target - len(ids)) if len(ids) < target else ids[:target]
        text = tokenizer.decode(ids)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) == target or left == 0:
            return text, ids
    raise AssertionError("unreachable")
