"""The grid of a sweep: parameter files, combinations, command lines and directories as in
`vllm bench sweep`. Pure, except for reading the files.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.values import by_flag, words_in, words_of

NAME = "_benchmark_name"
Params = dict[str, object]


def combinations(text: str | None, flag: str) -> list[Params]:
    """Combinations from a JSON or YAML file, or inline: ``request_rate=[1,2,4]``, space-separated.

    A file has a list of objects, or an object of names to objects; None is one empty combination.
    """
    import yaml

    if not text:
        return [{}]
    path = Path(text)
    if "=" in text and not path.exists():
        return _inline(text, flag)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as e:
        raise ConfigError(f"{flag}: {text} cannot be read: {e.strerror}") from e
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as e:
        words = " ".join(str(e).split())
        raise ConfigError(f"{flag}: {text} is neither JSON nor YAML: {words}") from e
    if isinstance(found, dict) and found and all(isinstance(v, dict) for v in found.values()):
        found = [{**params, NAME: name} for name, params in found.items()]
    if not isinstance(found, list) or not found or not all(isinstance(p, dict) for p in found):
        raise ConfigError(
            f"{flag}: {text} must contain a list of objects, or an object of names to objects"
        )
    for params in found:
        for key in params:
            if not isinstance(key, str):
                raise ConfigError(f"{flag}: {text}: {key!r} is not the name of a flag")
    return found


def _inline(text: str, flag: str) -> list[Params]:
    """Every combination of the values of each key."""
    values: dict[str, list[object]] = {}
    for word in words_in(flag, text):
        key, _, value = word.partition("=")
        try:
            found = json.loads(value)
        except ValueError:
            found = value
        if not key or not value or found == []:
            raise ConfigError(f"{flag}: {word!r} is not of the form KEY=VALUE or KEY=[VALUE,…]")
        values[key] = found if isinstance(found, list) else [found]
    rows = itertools.product(*values.values())
    return [dict(zip(values, row, strict=True)) for row in rows]


def linked(text: str) -> list[tuple[str, str]]:
    """The pairs of --link-vars: ``max_num_seqs=max_concurrency,…``. Raises ConfigError."""
    pairs = [word.partition("=") for word in text.split(",") if word.strip()]
    for key, _, other in pairs:
        if not key.strip() or not other.strip():
            raise ConfigError(
                f"--link-vars: {text!r} is not a pair such as max_num_seqs=max_concurrency"
            )
    return [(key.strip(), other.strip()) for key, _, other in pairs]


def cells(
    serve: Sequence[Params], bench: Sequence[Params], links: Sequence[tuple[str, str]]
) -> Iterator[tuple[Params, list[Params]]]:
    """The bench combinations to run with each serve combination."""
    for server in serve:
        fits = [
            b for b in bench if all(_value(server, k) == _value(b, other) for k, other in links)
        ]
        if fits:
            _distinct([(directory(server, b), {**server, **b}) for b in fits])
            yield server, fits


def _distinct(named: Sequence[tuple[str, Params]]) -> None:
    """Raises ConfigError for two combinations that would have one directory."""
    seen: dict[str, Params] = {}
    for name, params in named:
        if seen.setdefault(name, params) != params:
            raise ConfigError(f"{NAME}: two combinations are called {name}; give each its own")


def _value(params: Params, key: str) -> object:
    for name in (key, key.replace("_", "-"), key.replace("-", "_")):
        if name in params:
            return params[name]
    raise ConfigError(f"--link-vars: no combination has {key!r}; this one has {', '.join(params)}")


def command(words: Sequence[str], params: Params) -> list[str]:
    """``words`` with each parameter replacing its flag, or appended."""
    result = list(words)
    for key, value in params.items():
        if key != NAME:
            result = _set(result, key, value)
    return result


def _set(words: list[str], key: str, value: object) -> list[str]:
    head, dot, rest = key.partition(".")
    flag = f"--{head.replace('_', '-')}{dot}{rest}"
    names = {flag, f"--{key}", f"--no-{flag[2:]}"}
    kept: list[str] = []
    place: int | None = None
    for group in by_flag(words):
        if group[0].partition("=")[0] not in names:
            kept += group
        elif place is None:
            place = len(kept)
    at = len(kept) if place is None else place
    dotted = [f"{flag}={str(value).lower()}"] if dot and isinstance(value, bool) else None
    return [*kept[:at], *(dotted or words_of(flag, value)), *kept[at:]]


def directory(serve: Params, bench: Params, workload: Params | None = None) -> str:
    """``SERVE--<name>-BENCH--<name>``; empty parts are left out."""
    parts: list[str] = []
    for label, params in (("SERVE-", serve), ("BENCH-", bench), ("WL-", workload or {})):
        if name := cell_name(params):
            parts += [label, name]
    return "-".join(parts).replace("/", "_").replace("..", "__")


def cell_name(params: Params) -> str:
    if NAME in params:
        return str(params[NAME])
    return "-".join(f"{k}={v}" for k, v in params.items())


def spread(low: float, high: float, count: int) -> list[int]:
    """Evenly spaced integers from ``low`` to ``high``, both included, without duplicates."""
    step = (high - low) / (count - 1)
    return sorted({round(low + step * i) for i in range(count)})
