"""Parses one text into one value, or raises an error that names the flag. Pure."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable
from typing import Any, NoReturn

from llmbench_locust.errors import ConfigError, did_you_mean
from llmbench_locust.json_types import Json
from llmbench_locust.options.flag import Flag
from llmbench_locust.redact import beginning

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Default(str):
    """A default in the parser's namespace, to tell it from the same text typed by the user."""


def read(flag: Flag, given: object) -> Any:
    """The value of a flag. None and an empty text mean the default. Raises ConfigError."""
    if flag.kind == "bool":
        return _bool(flag, given)
    if flag.kind in ("pairs", "words"):
        value: object = _words(given, split_all=flag.kind == "words")
    elif given is None or (isinstance(given, str) and not given.strip()):
        value = {} if flag.kind == "json" and flag.default is None else flag.default
    else:
        value = _given(flag, given)
    return flag.parse(value) if flag.parse else value


def _given(flag: Flag, given: object) -> Any:
    if flag.kind == "truth":
        return _bool(flag, given)
    if flag.kind == "json":
        as_it_is = flag.parse or isinstance(given, dict)
        return given if as_it_is else json_object(f"--{flag.name}", str(given))
    text = str(given).strip()
    if "\0" in text:  # from a web form: no file and no server has such a name
        raise ConfigError(f"--{flag.name}: has a NUL character")
    if flag.kind == "int":
        return integer(f"--{flag.name}", text)
    if flag.kind == "float":
        return number(f"--{flag.name}", text)
    if flag.choices and text not in flag.choices:
        hint = did_you_mean(text, flag.choices)
        hint = f"{hint} One of" if hint else "use one of"
        known = ", ".join(flag.choices)
        raise ConfigError(f"--{flag.name}: {text!r} is not known; {hint} {known}")
    return text


#: The largest value of an int64 array.
MOST_INTEGER = 2**63 - 1
#: The longest prompt or answer, in tokens: a larger number is a mistake, and would fill the memory.
MOST_TOKENS = 10**8


def integer(name: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a whole number") from None
    if abs(value) > MOST_INTEGER:
        raise ConfigError(f"{name}: {text} is too large")
    return value


def number(name: str, text: str) -> float:
    """A float; inf is allowed, NaN is not."""
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a number") from None
    if math.isnan(value):
        raise ConfigError(f"{name}: {text!r} is not a number")
    return value


def json_object(name: str, text: str) -> Json:
    """An object of finite numbers: NaN and Infinity are not JSON, and no server reads them."""
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as e:
        raise ConfigError(
            f"{name}: not JSON ({e}); use an object such as '{{\"key\": 1}}'"
        ) from None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{name}: {type(value).__name__} is not an object; use a JSON object such as "
            "'{\"key\": 1}'"
        )
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON value")


def _finite(word: str) -> float:
    value = float(word)
    if math.isinf(value):
        raise ValueError(f"{word} is too large")
    return value


def split(text: str) -> list[str]:
    """Words of a text, quoted as in a shell; split at spaces only if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def words_in(flag: str, text: str | None) -> list[str]:
    """Words of a text, quoted as in a shell. Raises ConfigError."""
    try:
        return shlex.split(text or "")
    except ValueError as e:
        raise ConfigError(f"{flag}: {e}") from None


def is_flag(word: str) -> bool:
    """Whether a word of a command line is a flag and not a value: -1, - and "--clock fixed" are
    values.
    """
    try:
        float(word)
    except ValueError:
        return word.startswith("-") and word != "-" and " " not in word.partition("=")[0]
    return False


def flag_of(word: str) -> str:
    """--x-y of --x_y=3."""
    return word.partition("=")[0].replace("_", "-")


def by_flag(words: Iterable[str]) -> list[list[str]]:
    """The words of a command line in groups: the words before the first flag, then each flag with
    its values. A word after --x=3 is not a value of --x.
    """
    groups: list[list[str]] = [[]]
    for word in words:
        if is_flag(word) or "=" in "".join(groups[-1][:1]):
            groups.append([])
        groups[-1].append(word)
    return [group for group in groups if group]


def show(value: object) -> str:
    """A default as typed on the command line."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def words_of(flag: str, value: object, *, negates: bool = True) -> list[str]:
    """A value of JSON or YAML as on the command line: a list is several words, an object is JSON.
    ``negates``: whether the flag has a --no- form, for False.
    """
    if value is None or value == []:
        return []
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag[2:]}"] if negates else []
    if isinstance(value, list):
        return [flag, *map(str, value)]
    return [flag, json.dumps(value) if isinstance(value, dict) else str(value)]


def pairs(
    name: str, words: tuple[str, ...], mark: str = "=", *, secret: bool = False
) -> dict[str, str]:
    """KEY=VALUE words. Raises ConfigError for other words and for duplicate keys."""
    found: dict[str, str] = {}
    for word in words:
        key, middle, value = word.partition(mark)
        key = key.strip()
        if not middle or not key:
            raise ConfigError(
                f"{name}: {(beginning(word) if secret else word)!r} is not of the form "
                f"KEY{mark}VALUE"
            )
        if key in found:
            raise ConfigError(f"{name}: {key!r} is given twice")
        found[key] = value.strip()
    return found


def _bool(flag: Flag, given: object) -> bool:
    if isinstance(given, bool) or given is None:
        return bool(given)
    text = str(given).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"--{flag.name}: {given!r} is not a boolean; use true or false")


def _words(given: Any, *, split_all: bool) -> tuple[str, ...]:
    """The words of a list, or of one text (web form, environment), quoted as in a shell.

    ``split_all``: words of this flag have no spaces, so the items of a list are split, too
    ("ttft:1 tpot:2").
    """
    if given is None:
        return ()
    words = tuple(split(given)) if isinstance(given, str) else tuple(str(word) for word in given)
    return tuple(part for word in words for part in word.split()) if split_all else words


def seconds(name: str, value: Any) -> float | None:
    """60, 60s, 5m or 1h30m in seconds; None for nothing. Raises ConfigError that names the flag."""
    if value in (None, ""):
        return None
    if isinstance(value, str):
        parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", value)
        if parts is None:
            raise ConfigError(f"{name}: {value!r} is not a time; use 90s, 5m or 1h30m")
        hours, minutes, rest = (float(part or 0) for part in parts.groups())
        return hours * 3600 + minutes * 60 + rest
    found = float(value)
    if not 0 <= found < math.inf:
        raise ConfigError(f"{name}: {found:g} is not a duration; use seconds, 0 or more")
    return found
