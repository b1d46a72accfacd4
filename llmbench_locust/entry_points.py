"""What other installed packages bring. To look through all of them takes 10 ms: it is done once."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of ``group`` in all packages on `sys.path`."""
    return tuple(point for point in _every(tuple(sys.path)) if point.group == group)


@cache
def _every(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    from importlib import metadata  # late: it takes longer than what most commands import

    found = metadata.entry_points()
    return tuple(point for group in found.groups for point in found.select(group=group))
