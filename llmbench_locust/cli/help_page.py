"""`llmbench serve --help`: one screen; ``--help=all``, ``=GROUP`` and ``=TEXT`` more."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import FLAGS, GROUPS
from llmbench_locust.options.values import show

_ESSENTIAL = (
    *("base-url", "model", "backend", "dataset-name", "dataset-path", "input-len", "output-len"),
    *("num-prompts", "duration", "request-rate", "max-concurrency", "goodput", "save-result"),
    *("llm-html", "sim"),
)


_LOCUST = """\
Of Locust's options these matter most:
  --processes N         client processes on this machine (one per core)
  --master, --worker    client processes on several machines
  -t, --run-time TIME   stop sending after this time, for example 60s or 5m
  --web                 open the web UI instead of running at once"""

_EXAMPLES = """\
Examples:
  llmbench serve --sim --num-prompts 200 --request-rate 20
  llmbench serve --base-url http://host:8000 --dataset-name random --input-len 512 \\
    --output-len 128 --request-rate 8 --goodput ttft:300 tpot:40
  llmbench serve --base-url http://host:8000 --backend openai-chat --max-concurrency 32 \\
    --num-prompts 500 --save-result --html report.html
  llmbench serve --base-url http://host:8000 --processes 4 --request-rate 400 --num-prompts 20000"""

_STATUS = """\
Exit status: 0 completed; 1 a file or worker was lost, every request failed, or no run could start;
  2 bad input; 3 a --check failed; 4 not valid, with --strict; 130 or 143 interrupted."""

_MORE = "More: --help=all, --help=GROUP (for example --help=dataset), --help=TEXT to search."


def help_page(topic: str = "", command: str = "serve") -> str:
    """The page for a topic: "" the short page, "all", a group's title, or a text to search for."""
    usage = f"usage: llmbench {command} [--base-url URL] [--model NAME] [flags of vllm bench serve]"
    if not topic:
        essential = _table((FLAGS[name.replace("-", "_")] for name in _ESSENTIAL), brief=True)
        return "\n\n".join((usage, essential, _LOCUST, _EXAMPLES, _STATUS, _MORE))
    wanted = topic.lower().lstrip("-").replace("_", "-")
    if wanted == "all":
        return "\n\n".join((usage, *map(_group, GROUPS), _LOCUST, _EXAMPLES))
    groups = [title for title in GROUPS if wanted.replace("-", " ") in title.lower()]
    if groups:
        return "\n\n".join(map(_group, groups))
    found = [flag for flag in FLAGS.values() if wanted in flag.name or wanted in flag.help.lower()]
    if found:
        return _table(found)
    return f"No group and no flag matches {topic!r}.\nGroups: {', '.join(GROUPS)}"


def _group(title: str) -> str:
    return f"{title}:\n{_table(GROUPS[title])}"


def _table(flags: Iterable[Flag], *, brief: bool = False) -> str:
    return "\n".join(line for flag in flags for line in _row(flag, brief))


#: Number of choices that the short page lists.
_FEW = 5


def _row(flag: Flag, brief: bool) -> list[str]:
    switch = flag.kind in ("bool", "truth")
    name = "html" if flag.name == "llm-html" else flag.name
    left = f"  --{name}" + ("" if switch else f" {flag.metavar or flag.kind.upper()}")
    text = flag.help
    if flag.choices and brief and len(flag.choices) > _FEW:
        text += f" One of {', '.join(flag.choices[:_FEW])}, … (--help={flag.name} lists all)."
    elif flag.choices:
        text += f" One of {', '.join(flag.choices)}."
    if flag.default is not None and not switch:
        text += f" Default: {show(flag.default)}."
    lines = textwrap.wrap(text, 66, break_on_hyphens=False)
    if len(left) > 30:
        return [left, *(" " * 32 + line for line in lines)]
    return [f"{left:<32}{lines[0]}", *(" " * 32 + line for line in lines[1:])]
