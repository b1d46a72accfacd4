"""Adds the table of flags to Locust's parser: for the command line, the environment and the web
form.

Every value stays text in the namespace, wherever it came from. `build_config` parses and checks all
of them in one place, so the command line and the web form reject a value with the same message.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

from llmbench_locust.errors import ConfigError, did_you_mean
from llmbench_locust.json_types import Json
from llmbench_locust.options.flag import Flag
from llmbench_locust.options.secrets import secret_dest
from llmbench_locust.options.table import FLAGS, GROUPS
from llmbench_locust.options.values import Default, show, split
from llmbench_locust.redact import masked

#: Not flags, because they change no result: the stream reader (`transport.reader`), and whether
#: an installation compiles it (hatch_build.py).
OTHER_VARIABLES = ("LLMBENCH_READER", "LLMBENCH_BUILD_NATIVE")
#: The end of a variable's name; what comes before it names the service.
_OF_A_SERVICE = re.compile(r"(?<=_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)$")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags, by group, to the parser of ``events.init_command_line_parser``."""
    for group, flags in GROUPS.items():
        section = parser.add_argument_group(f"llmbench: {group}")
        for flag in flags:
            _add(section, flag)


def env_name(flag: Flag) -> str:
    return f"LLMBENCH_{flag.dest.upper()}"


def check_variables(names: Iterable[str]) -> None:
    """Raises ConfigError for an environment variable that looks like a flag's but is not, and is
    not one that Kubernetes sets for a service (such as llmbench-master).
    """
    names = sorted(names)
    known = {*OTHER_VARIABLES, *(env_name(flag) for flag in FLAGS.values())}
    services = {n.removesuffix("SERVICE_HOST") for n in names if n.endswith("_SERVICE_HOST")}
    for name in names:
        about = _OF_A_SERVICE.search(name)
        if about and name[: about.start()] in services:
            continue
        if name.startswith("LLMBENCH_") and name not in known:
            hint = did_you_mean(name, known, "unset it")
            raise ConfigError(f"{name}: no flag has this environment variable; {hint}")


class _Choices(list[str]):
    """The form's drop-down. It accepts everything: `build_config` rejects a wrong choice."""

    def __contains__(self, value: object) -> bool:
        return True


class _Words(argparse.Action):
    """Several words become one text, quoted as in a shell: the web form shows that and sends it
    back.

    An environment variable is already one text. The text of a secret flag has its values masked;
    the words themselves are stored under `secret_dest`, which the form does not show.
    """

    def __init__(self, *args: Any, flag: Flag, **options: Any) -> None:
        super().__init__(*args, **options)
        self._flag = flag

    def __call__(
        self, parser: object, namespace: object, values: Any, option_string: str | None = None
    ) -> None:
        words = [str(value) for value in values]
        if words == [os.environ.get(env_name(self._flag))]:
            words = split(words[0])
        before = getattr(namespace, self.dest, None)
        if self._flag.repeats and before:
            words = [*split(before), *words]
        if self._flag.secret:
            setattr(namespace, secret_dest(self.dest), words)
            words = masked(words)
        setattr(namespace, self.dest, shlex.join(words))


class _Again(argparse.Action):
    """A text that is given several times: all of them, separated by blanks."""

    def __call__(
        self, parser: object, namespace: object, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, f"{before} {values}" if before else values)


class _TrueFalse(argparse.BooleanOptionalAction):
    """--x and --no-x give the texts true and false; a third state is not given."""

    def __call__(
        self, parser: object, namespace: object, values: object, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, "false" if str(option_string).startswith("--no-") else "true")


def _add(section: argparse._ArgumentGroup, flag: Flag) -> None:
    options: Json = {"help": _help(flag), "env_var": env_name(flag), "dest": flag.dest}
    if flag.kind == "bool":
        options.update(action="store_true", default=False)
    elif flag.kind == "truth":
        options.update(action=_TrueFalse, default=None)
    elif flag.kind in ("pairs", "words"):
        options.update(action=_Words, flag=flag, nargs="*", default=None, metavar=_metavar(flag))
    else:
        if flag.repeats:
            options.update(action=_Again)
        options.update(
            type=_text,
            default=None if flag.default is None else Default(show(flag.default)),
            metavar=_metavar(flag),
        )
    action: Any = section.add_argument(f"--{flag.name}", **options)
    # What Locust's parser keeps for the web form; argument groups do not pass it on.
    action.include_in_web_ui = True
    action.is_secret = flag.secret
    action.is_required = False
    action.is_multiple = False
    choices = ("true", "false") if flag.kind == "truth" else flag.choices
    if choices:
        # A drop-down without the empty choice would send its first one for "not given".
        action.choices = _Choices(choices if flag.default is not None else ("", *choices))


def _text(given: str) -> str:
    """The text unchanged: with type `str`, argparse would turn a `Default` into a plain text."""
    return given


def _metavar(flag: Flag) -> str:
    if flag.choices and len(flag.choices) <= 3:
        return "{" + ",".join(flag.choices) + "}"
    return flag.metavar or {"int": "N", "float": "X", "json": "JSON"}.get(flag.kind, "TEXT")


def _help(flag: Flag) -> str:
    text = flag.help
    if len(flag.choices) > 3:
        text += " One of " + ", ".join(flag.choices) + "."
    if flag.default is not None and flag.kind != "bool":
        text += f" Default: {show(flag.default)}."
    return text.replace("%", "%%")
