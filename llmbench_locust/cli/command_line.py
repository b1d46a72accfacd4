"""Translates the command line of `llmbench serve` into Locust's.

vLLM's rules apply: underscores equal dashes, flags may be abbreviated, ``--config FILE.yaml`` holds
flags, and the command line overrides the file. Names are resolved here; values are parsed and
checked in `options.config`, as for every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llmbench_locust.errors import ConfigError, did_you_mean
from llmbench_locust.options.dotted import overridden
from llmbench_locust.options.table import FLAGS, OWN_GROUPS
from llmbench_locust.options.values import flag_of, is_flag, read, words_of

#: How many values an option takes: none, one, or as many as follow.
NONE, ONE, MANY = "none", "one", "many"

#: Names that have vLLM's meaning (or are short forms) here and another meaning in Locust.
RENAMED = {"profile": "vllm-profile", "html": "llm-html"}

#: Locust options with a fixed meaning here.
_FIXED = ("locustfile", "headless", "headful", "config")


def locust_argv(argv: Sequence[str], locust_options: Mapping[str, str]) -> list[str]:
    """Locust's arguments for the arguments of `llmbench serve`.

    ``locust_options``: number of values of each of Locust's options (`NONE`, `ONE`, `MANY`), by its
    name with the dashes. Raises ConfigError for an unknown or ambiguous name, a stray word, and a
    bad configuration file.
    """
    return list(_translated(_with_config_files(argv), locust_options))


def cold_cache(argv: Sequence[str]) -> list[str]:
    """The flags that commands with several runs add to each run, so that no run finds the prompts
    of another in the server's prefix cache. None if ``argv`` has one of the two flags.
    """
    if {"--reset-cache", "--cache-bust"}.intersection(map(flag_of, argv)):
        return []
    return ["--reset-cache", "auto", "--cache-bust", "auto"]


def _translated(words: Sequence[str], locust_options: Mapping[str, str]) -> Iterator[str]:
    open_values = NONE
    for word in words:
        if not is_flag(word):
            if open_values == NONE:
                raise ConfigError(f"unexpected argument {word!r}: every value follows its flag")
            if open_values == ONE:
                open_values = NONE
            yield word
            continue
        name, equals, value = word.partition("=")
        flag, dot, path = name.partition(".")
        flag = _resolved(flag, locust_options)
        yield flag + dot + path + equals + value
        open_values = NONE if equals else _values_of(flag, locust_options)


def _resolved(given: str, locust_options: Mapping[str, str]) -> str:
    """The full name, with its dashes. Raises ConfigError."""
    if given in locust_options and not given.startswith("--"):
        return given
    if not given.startswith("--") and given[:2] in locust_options:
        return given  # a short option with its value attached: -t60s
    name = given.lstrip("-").replace("_", "-")
    if given.startswith("--"):
        if name in RENAMED:
            return f"--{RENAMED[name]}"
        if name in _names() or f"--{name}" in locust_options:
            return _allowed(name)
        ours = [flag for flag in (*_names(), *RENAMED) if flag.startswith(name)]
        vllms = [flag for flag in ours if not _is_ours_alone(flag)]
        for found in (vllms, ours, [o[2:] for o in locust_options if o.startswith(f"--{name}")]):
            if len(found) == 1:
                return _allowed(RENAMED.get(found[0], found[0]))
            if found:
                options = ", ".join(f"--{flag}" for flag in sorted(found))
                raise ConfigError(f"{given}: ambiguous; it could be {options}")
    flags = [*(f"--{flag}" for flag in (*_names(), *RENAMED)), *locust_options]
    hint = did_you_mean(f"--{name}", flags, "see llmbench serve --help=all")
    raise ConfigError(f"{given}: unknown flag; {hint}")


def _names() -> list[str]:
    """All our flags, with --no-x for those that may be true, false or not given."""
    negated = [f"no-{flag.name}" for flag in FLAGS.values() if flag.kind == "truth"]
    return [flag.name for flag in FLAGS.values()] + negated


def _is_ours_alone(name: str) -> bool:
    """Whether vLLM has no such flag: its abbreviations keep their meaning when we add flags."""
    row = FLAGS.get(name.removeprefix("no-").replace("-", "_"))
    return row is not None and (row.group in OWN_GROUPS or name == "header-file")


def _allowed(name: str) -> str:
    if name in _FIXED:
        raise ConfigError(f"--{name}: not an option of llmbench serve; run locust itself for it")
    return f"--{name}"


def _values_of(flag: str, locust_options: Mapping[str, str]) -> str:
    if flag in locust_options:
        return locust_options[flag]
    row = FLAGS.get(flag.removeprefix("--").partition(".")[0].replace("-", "_"))
    if row is None:
        return NONE  # --no-x of a switch
    kinds = {"bool": NONE, "truth": NONE, "pairs": MANY, "words": MANY}
    return kinds.get(row.kind, ONE)


# --- --config FILE.yaml ---------------------------------------------------------------------------


def _with_config_files(argv: Sequence[str]) -> list[str]:
    """The files' flags first, so that the command line wins."""
    from_files: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--config":
            rest.append(word)
            continue
        path = value if equals else next(words, "")
        if not path:
            raise ConfigError("--config: the file name is missing; use --config FILE.yaml")
        from_files += flags_of_file(Path(path))
    return overridden(from_files, rest)


def flags_of_file(path: Path) -> list[str]:
    """The arguments of a YAML file of flags. Raises ConfigError with file and line."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text)
        values = yaml.safe_load(text)
    except OSError as e:
        raise ConfigError(f"--config: {path} cannot be read: {e.strerror}") from e
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: not YAML: {e.problem}") from e
    except (UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError(f"--config: {path} is not YAML: {' '.join(str(e).split())}") from e
    if values is None:
        return []
    if not isinstance(values, dict) or not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"--config: {path} must hold flags as `name: value` lines")
    lines = {key.value: key.start_mark.line + 1 for key, _ in root.value}
    words: list[str] = []
    for key, value in values.items():
        name = str(key).replace("_", "-")
        row = FLAGS.get(name.replace("-", "_"))
        if row is None and name not in RENAMED:
            hint = did_you_mean(name, [*_names(), *RENAMED], "see llmbench serve --help=all")
            raise ConfigError(f"{path}, line {lines[key]}: unknown flag {name}; {hint}")
        negates = row is not None and row.kind == "truth"
        of_flag = words_of(f"--{name}", value, negates=negates)
        try:
            check_value(name, of_flag[1:])
        except ConfigError as e:
            raise ConfigError(f"{path}, line {lines[key]}: {e}") from None
        words += of_flag
    return words


def check_value(name: str, words: list[str]) -> bool:
    """Whether ``name`` is one of our flags. Raises ConfigError if ``words`` do not fit it."""
    row = FLAGS.get(name.replace("-", "_"))
    if row is not None and words:
        found = read(row, words if row.kind in ("pairs", "words") else words[0])
        if isinstance(found, int | float):
            row.check(found)
    return row is not None
