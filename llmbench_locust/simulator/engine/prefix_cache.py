"""A prefix cache by blocks, as engines have it: which part of a prompt need not be computed.

A block is known by its tokens and all before them. The least recently used block goes first. As in
vLLM, the last token of a prompt is always computed, so a prompt that is known whole hits all blocks
but the one that holds it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence


class PrefixCache:
    """``capacity``: blocks. ``queries`` and ``hits`` count tokens and are never reset."""

    def __init__(self, capacity: int, block_size: int) -> None:
        self.capacity = capacity
        self.block_size = block_size
        self.queries = 0
        self.hits = 0
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def admit(self, tokens: Sequence[Hashable]) -> int:
        """Look a prompt up and keep its blocks. Returns how many of its tokens were cached."""
        size, known, chain, cached = self.block_size, True, 0, 0
        self.queries += len(tokens)
        for start in range(0, len(tokens) - size + 1, size):
            chain = hash((chain, *tokens[start : start + size]))
            known = known and chain in self._blocks and start + size < len(tokens)
            cached += size if known else 0
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > self.capacity:
            self._blocks.popitem(last=False)
        self.hits += cached
        return cached

    def reset(self) -> None:
        """Forget all blocks; the counters stay."""
        self._blocks.clear()
