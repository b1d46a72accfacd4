"""The tables of docs/flags.md, made anew below its text: ``python docs/flags.py``."""

from __future__ import annotations

from pathlib import Path

from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import GROUPS
from llmbench_locust.options.values import show

PAGE = Path(__file__).parent / "flags.md"


def page(text: str) -> str:
    """The page with its text as it is in ``text``, and the tables of all flags."""
    parts = [text.partition(f"\n{_title(next(iter(GROUPS)))}\n")[0]]
    for group, flags in GROUPS.items():
        head = f"{_title(group)}\n\n| flag | default | meaning |\n| --- | --- | --- |"
        rows = (f"| `--{f.name}` | {_default(f)} | {_meaning(f)} |" for f in flags)
        parts.append("\n".join((head, *rows)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _title(group: str) -> str:
    return f"## {group[0].upper()}{group[1:]}"


def _default(flag: Flag) -> str:
    if flag.kind == "bool":
        return "`False`"
    return "`None`" if flag.default is None else f"`{_cell(show(flag.default))}`"


def _meaning(flag: Flag) -> str:
    listed = ", ".join(f"`{choice}`" for choice in flag.choices)
    listed = f" One of {listed}." if listed else ""
    if flag.kind == "truth":
        listed = f" Also `--no-{flag.name}`."
    return _cell(flag.help) + listed


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
