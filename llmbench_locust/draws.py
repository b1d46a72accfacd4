"""Random draws that depend only on the run's seed and the request's index. Pure.

No generator is shared, so neither the number of workers nor their order matters.
"""

from __future__ import annotations

import hashlib


def draw(seed: int, purpose: str, index: int) -> float:
    """A number in [0, 1) for one request. ``purpose`` keeps different choices independent."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
