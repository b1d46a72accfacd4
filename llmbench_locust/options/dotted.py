"""The dotted form of JSON flags: ``--extra-body.a.b 1 --extra-body.list+ x`` becomes ``--extra-body '{"a": …}'``.

Done on the argument list before Locust parses it. A value is JSON where it can be read as JSON, else text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.table import JSON_FLAGS


def expand_dotted(argv: Sequence[str]) -> list[str]:
    """The same arguments with the dotted ones gathered, one JSON flag each, at the end. Raises ConfigError."""
    rest: list[str] = []
    gathered: dict[str, dict[str, Any]] = {}
    whole: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        flag, dot, path = name.removeprefix("--").partition(".")
        flag = flag.replace("_", "-")
        if not name.startswith("--") or flag not in JSON_FLAGS:
            rest.append(word)
            continue
        if not equals:
            value = next(words, "\0")
            if value == "\0":
                raise ConfigError(f"{name}: a value is missing")
        if not dot:
            whole[flag] = value
            continue
        _put(gathered.setdefault(flag, {}), path, value, name)
    for flag, text in whole.items():
        if flag in gathered:
            base = _parse(text)
            if not isinstance(base, dict):
                raise ConfigError(f"--{flag}: {text!r} is not a JSON object; it cannot be combined with --{flag}.KEY")
            gathered[flag] = _merge(base, gathered[flag])
        else:
            rest += [f"--{flag}", text]
    for flag, tree in gathered.items():
        rest += [f"--{flag}", json.dumps(tree)]
    return rest


def _put(tree: dict[str, Any], path: str, value: str, name: str) -> None:
    """Set one dotted path; a path that ends in + appends (several values by commas)."""
    append = path.endswith("+")
    keys = path.removesuffix("+").split(".")
    if not all(keys):
        raise ConfigError(f"{name}: an empty key; write it as --flag.key or --flag.key.key")
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: {key} is a value already, it can have no keys")
    if not append:
        tree[keys[-1]] = _parse(value)
        return
    items = tree.setdefault(keys[-1], [])
    if not isinstance(items, list):
        raise ConfigError(f"{name}: {keys[-1]} is a value already, nothing can be appended to it")
    items.extend(_parse(part) for part in value.split(","))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
