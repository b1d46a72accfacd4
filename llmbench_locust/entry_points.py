"""Backends and datasets of other installed packages. The packages are scanned once: 10 ms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from llmbench_locust.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Row = TypeVar("Row")


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of ``group`` in all packages on `sys.path`."""
    return tuple(point for point in _every(tuple(sys.path)) if point.group == group)


@cache
def _every(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    from importlib import metadata  # late: slow to import

    found = metadata.entry_points()
    return tuple(point for group in found.groups for point in found.select(group=group))


class Registry(dict[str, Row]):
    """The rows that ``flag`` selects from, by name: ours, those that a locustfile registers, and
    those of the entry points in ``group``. ``row_of``: converts a loaded entry point to its row.
    """

    def __init__(self, flag: str, group: str, row_of: Callable[..., Row]) -> None:
        self._flag, self._group, self._row_of = flag, group, row_of

    def names(self) -> tuple[str, ...]:
        """All names, those of entry points last. Loads nothing."""
        return tuple(dict.fromkeys((*self, *(point.name for point in entry_points(self._group)))))

    def row(self, name: str) -> Row:
        """Raises ConfigError for an unknown name, and for a package that fails to load."""
        if name in self:
            return self[name]
        point = next((p for p in entry_points(self._group) if p.name == name), None)
        if point is None:
            known = ", ".join(self.names())
            raise ConfigError(f"{self._flag}: {name!r} is not known; one of {known}")
        try:
            row = self[name] = self._row_of(point.load())
        except Exception as e:  # whatever another package's module raises
            raise ConfigError(
                f"{self._flag}: {name!r} comes from {point.value}, which cannot be loaded: {e!r}"
            ) from e
        return row
