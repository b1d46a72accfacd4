"""The table of flags becomes arguments of Locust's parser: on the command line, in the environment, in the web form."""

from __future__ import annotations

import argparse
from typing import Any

from llmbench_locust.options.table import GROUPS, Flag


def add_flags(parser: Any) -> None:
    """Add all flags, by group. Values stay texts here: `build_config` checks them, whichever way they came."""
    for group, flags in GROUPS.items():
        section = parser.add_argument_group(f"llmbench: {group}")
        for flag in flags:
            _add(parser, section, flag)


def _add(parser: Any, section: Any, flag: Flag) -> None:
    options: dict[str, Any] = {"help": _help(flag), "env_var": f"LLMBENCH_{flag.dest.upper()}", "dest": flag.dest}
    if flag.kind == "bool":
        options.update(action="store_true", default=False)
    elif flag.kind == "list":
        options.update(nargs="*", default=None, metavar="VALUE")
    else:
        options.update(type=str, default=None if flag.default is None else show(flag.default), metavar=_metavar(flag))
    if flag.name == "self-timed":
        options.update(nargs="?", const="true")
    action = section.add_argument(f"--{flag.name}", **options)
    # What Locust's parser keeps for the web form; argument groups do not pass it on.
    action.include_in_web_ui = True
    action.is_secret = flag.secret
    action.is_required = False
    action.is_multiple = False
    if flag.choices:
        # For the form's drop-down. The command line is checked with everything else, and gets our line.
        action.form_choices = list(flag.choices)
    if flag.name == "self-timed":
        off = section.add_argument(
            "--no-self-timed", dest="self_timed", action="store_const", const="false", help=argparse.SUPPRESS
        )
        off.include_in_web_ui = False
        off.is_secret = off.is_required = off.is_multiple = False


def show(value: Any) -> str:
    """A default as one would type it."""
    if isinstance(value, dict):
        import json

        return json.dumps(value)
    return str(value)


def _metavar(flag: Flag) -> str:
    if flag.choices and len(flag.choices) <= 3:
        return "{" + ",".join(flag.choices) + "}"
    return {"int": "N", "float": "X", "json": "JSON"}.get(flag.kind, "TEXT")


def _help(flag: Flag) -> str:
    text = flag.help.replace("%", "%%")
    if flag.choices and len(flag.choices) > 3:
        text += " One of " + ", ".join(flag.choices) + "."
    if flag.default is not None and flag.kind != "bool":
        text += f" Default: {show(flag.default)}."
    return text
