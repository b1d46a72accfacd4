"""A prefix cache of blocks, as in engines: finds the part of a prompt that need not be computed.

A block is identified by its tokens and all before them. The least recently used block is evicted
first. As in vLLM, the last token of a prompt is always computed, so a completely cached prompt hits
all blocks except the last one.
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

    def admit(self, tokens: Sequence[Hashable], template: int = 0) -> int:
        """Look up a prompt and store its blocks. Returns how many of its tokens were cached.
        ``template``: further tokens of the prompt, from a chat template, which are not cached.
        """
        size, known, chain, cached = self.block_size, True, 0, 0
        self.queries += len(tokens) + template
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
        """Drop all blocks; the counters stay."""
        self._blocks.clear()
