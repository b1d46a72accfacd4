"""The dotted form of JSON flags: ``--extra-body.a.b 1 --extra-body.list+ x`` becomes ``--extra-body
'{"a": …}'``.

Applied to the argument list before Locust parses it. A value is JSON if it parses as JSON, else
text. Our own flags may be written with underscores, like vLLM's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.presets import Listed, expand_preset
from llmbench_locust.options.table import FLAGS, JSON_FLAGS
from llmbench_locust.options.values import by_flag, flag_of, json_object


def expand_sys_argv(first: Callable[[list[str]], list[str]]) -> None:
    """Apply ``first``, then `expand_dotted`, to this process's command line. An error is one line
    on stderr and exit status 2.

    Called when a locustfile is imported: by then Locust has read only ``-f``.
    """
    try:
        sys.argv[1:] = expand_dotted(first(sys.argv[1:]))
    except Listed as e:
        print(e, flush=True)
        sys.exit(0)
    except ConfigError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        sys.exit(e.exit_code)


def expand_dotted(argv: Sequence[str]) -> list[str]:
    """The arguments of ``--preset``, then ``argv`` with each JSON flag merged into one; arguments
    after ``--`` are unchanged. Raises ConfigError, Listed.
    """
    _refuse_num_prompts(argv)
    argv = expand_preset(argv)
    flags = list(argv[: argv.index("--")] if "--" in argv else argv)
    rest: list[str | _Json] = []
    gathered: dict[str, _Json] = {}
    words = iter(flags)
    for word in words:
        name, equals, value = word.partition("=")
        flag, dot, path = name.removeprefix("--").partition(".")
        flag = flag.replace("_", "-")
        if not name.startswith("--") or flag not in JSON_FLAGS:
            rest.append(_dashed(word))
            continue
        if flag not in gathered:
            gathered[flag] = _Json(flag)
            rest.append(gathered[flag])
        if not equals:
            value = _next(words, name)
        if dot:
            _put(gathered[flag].tree, path, value, name)
        else:
            gathered[flag].whole = value
    return [
        text for item in rest for text in ([item] if isinstance(item, str) else item.words())
    ] + list(argv[len(flags) :])


def overridden(words: Sequence[str], later: Sequence[str]) -> list[str]:
    """``words`` followed by ``later``. Servers in ``later`` replace those in ``words``, because a
    repeated --base-url names two servers.
    """
    gone = {"--base-url"}.intersection(map(flag_of, later))
    kept = [group for group in by_flag(words) if flag_of(group[0]) not in gone]
    return [*(word for group in kept for word in group), *later]


def _refuse_num_prompts(argv: Sequence[str]) -> None:
    """Raises ConfigError if --num-prompts is typed with --capacity. Presets and the web form may
    set both, because their number of requests is for runs of every kind.
    """
    if {"--capacity", "--num-prompts"} <= {*map(flag_of, argv)}:
        raise ConfigError("--num-prompts: cannot be used with --capacity, which sizes its own runs")


class _Json:
    """What was given for one JSON flag: a whole object, single keys, or both."""

    def __init__(self, flag: str) -> None:
        self.flag = flag
        self.whole: str | None = None
        self.tree: Json = {}

    def words(self) -> list[str]:
        if self.whole is not None and not self.tree:
            return [f"--{self.flag}", self.whole]
        base = json_object(f"--{self.flag}", self.whole) if self.whole else {}
        return [f"--{self.flag}", json.dumps(_merge(base, self.tree))]


def _next(words: Iterator[str], name: str) -> str:
    value = next(words, None)
    if value is None or value.startswith("--"):
        raise ConfigError(f"{name}: a value is missing")
    return value


def _dashed(word: str) -> str:
    """--num_prompts as --num-prompts, for our own flags only."""
    name, equals, value = word.partition("=")
    if name.startswith("--") and "_" in name and name[2:] in FLAGS:
        return name.replace("_", "-") + equals + value
    return word


def _put(tree: Json, path: str, value: str, name: str) -> None:
    """Set one dotted path; a path that ends in + appends (several values by commas)."""
    append = path.endswith("+")
    keys = path.removesuffix("+").split(".")
    if not all(keys):
        raise ConfigError(f"{name}: an empty key; write it as --flag.key or --flag.key.key")
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: {key} already has a value, so it cannot have keys")
    if not append:
        tree[keys[-1]] = _parse(value)
        return
    items = tree.setdefault(keys[-1], [])
    if not isinstance(items, list):
        raise ConfigError(f"{name}: {keys[-1]} is not a list, so nothing can be appended to it")
    items.extend(_items(value))


def _items(value: str) -> list[JsonValue]:
    """The values that a + appends: one JSON object, list or string, or comma-separated texts."""
    if value[:1] in ("{", "[", '"'):
        whole = _parse(value)
        if whole != value:
            return [whole]
    return [_parse(part) for part in value.split(",")]


def _parse(text: str) -> JsonValue:
    """The JSON value, or the text if it is not JSON (NaN and Infinity are not)."""
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _merge(base: Json, over: Json) -> Json:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged
