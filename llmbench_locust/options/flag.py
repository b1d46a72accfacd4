"""A flag is a field of a section of `RunConfig`, declared with its default, help and bounds.

The field's annotation gives the kind, and its name the flag's name. ``kind`` says how the text is
parsed (`values.read`): int, float, text, choice, bool, truth (true, false or not given), pairs
(KEY=VALUE words, quoted as in a shell), words (without spaces), json (an object).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from llmbench_locust.errors import ConfigError

T = TypeVar("T")

INF = float("inf")
Choices = tuple[str, ...] | Callable[[], tuple[str, ...]]

_KINDS = {
    "int": "int",
    "float": "float",
    "str": "text",
    "bool": "bool",
    "bool | None": "truth",
    "Json": "json",
    "dict[str, str]": "pairs",
    "tuple[str, ...]": "words",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """The row of one flag. ``field``: the attribute of `RunConfig` that it fills.

    ``least``, ``above``, ``most``: bounds; ``above`` itself is not allowed. ``finite``: inf is not
    allowed. ``allowed``: the choices, or a function that returns them. ``parse``: converts the
    text (or the default) to the value. ``part``: whether an entry of ``--mix`` may set it.
    ``secret``: masked on the web, never written. ``metavar``: its value in the help. ``repeats``:
    if given several times, all its words are kept.
    """

    default: Any
    help: str
    name: str = ""
    field: str = ""
    kind: str = ""
    group: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    finite: bool = False
    allowed: Choices = ()
    parse: Callable[[Any], Any] | None = None
    part: bool = False
    secret: bool = False
    metavar: str = ""
    repeats: bool = False

    @property
    def dest(self) -> str:
        """Its name in the namespace of the parsed options."""
        return self.name.replace("-", "_")

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts; () if any text is allowed."""
        return self.allowed() if callable(self.allowed) else self.allowed

    def check(self, value: float | None) -> None:
        """Raises ConfigError for a number outside the bounds."""
        if value is None:
            return
        if self.finite and math.isinf(value):
            raise ConfigError(f"--{self.name}: {value:g} is not allowed; use a finite number")
        shown = value if isinstance(value, int) else f"{value:g}"
        low = (self.least is not None and value < self.least) or (
            self.above is not None and not value > self.above
        )
        if low or (self.most is not None and value > self.most):
            wrong = "too small" if low else "too large"
            raise ConfigError(f"--{self.name}: {shown} is {wrong}; use {self._range()}")

    def _range(self) -> str:
        low = f"a number above {self.above:g}" if self.above is not None else f"{self.least}"
        if self.most is None:
            return low if self.above is not None else f"{low} or more"
        return (
            f"{low} and at most {self.most}" if self.above is not None else f"{low} to {self.most}"
        )

    @property
    def bounded(self) -> bool:
        return self.finite or any(x is not None for x in (self.least, self.above, self.most))


def flag(default: object, help: str, **row: Any) -> Any:
    """Declares a flag; ``row``: attributes of `Flag`."""
    return dataclasses.field(
        kw_only=True,
        repr=not row.get("secret", False),
        metadata={"flag": Flag(default, help, **row)},
    )


def dataset_flag(default: object, help: str, **row: Any) -> Any:
    """Declares a flag that an entry of ``--mix`` may set, too."""
    return flag(default, help, part=True, **row)


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(flag, dataset_flag)
)
def section(cls: type[T]) -> type[T]:
    """A base of `RunConfig`. Without generated methods, which take half a millisecond per class."""
    return dataclass(frozen=True, init=False, repr=False, eq=False)(cls)


def rows(section: type, group: str) -> tuple[Flag, ...]:
    return tuple(_row(field, group) for field in dataclasses.fields(section))


def _row(field: dataclasses.Field[object], group: str) -> Flag:
    row: Flag = field.metadata["flag"]
    kind = str(field.type)
    return dataclasses.replace(
        row,
        name=row.name or field.name.replace("_", "-"),
        field=field.name,
        kind=row.kind
        or ("choice" if row.allowed else "")
        or _KINDS.get(kind)
        or _KINDS.get(kind.removesuffix(" | None"), "text"),
        group=group,
    )
