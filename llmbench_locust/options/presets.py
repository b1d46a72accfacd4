"""``--preset``: named workloads. A preset is a set of flags that the command line can override.

docs/users.md gives the sources of the numbers.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.values import by_flag, flag_of

#: One request a second at random times, the rate that MLPerf's LoadGen begins with.
_POISSON = "--request-rate 1 --num-prompts 700 "
_CHAT = "--random-input-len 1020 --random-output-len 129 --random-range-ratio 0.5 "
_AGENT = (
    "--multi-turn --multi-turn-num-turns 8 --per-turn-input-len 860 --think-time 1:5 "
    "--concurrent-sessions 8 --num-sessions 100 "
)
_SMALL = "--random-input-len 778 --random-output-len 73 "
_OPEN_ORCA = "--dataset-name hf --dataset-path mgoin/mlperf-inference-llama2-data "
_LONG = "--dataset-name hf --dataset-path mgoin/mlperf-inference-llama3.1-data "
_THINKING = "--random-input-len 800 --random-output-len 3880 --percentile-metrics ttft,ttfo,tpot "

#: name → (what it is, its flags)
PRESETS: dict[str, tuple[str, str]] = {
    "chat": ("single turns of a chat", _POISSON + _CHAT + "--goodput ttft:450 tpot:40"),
    "code": (
        "completions in an editor: long prompts, a few tokens",
        _POISSON + "--random-input-len 1500 --random-output-len 13 --goodput e2el:1000",
    ),
    "rag": (
        "questions with retrieved passages behind one system prompt",
        _POISSON + "--random-prefix-len 512 --random-input-len 3072 --random-output-len 256 "
        "--random-range-ratio 0.3 --goodput ttft:2000 tpot:100",
    ),
    "summarize": (
        "long documents",
        _POISSON + "--random-input-len 8192 --random-output-len 1024 --goodput ttft:2000 tpot:100",
    ),
    "reasoning": (
        "short questions with long reasoning",
        _POISSON + "--random-input-len 1024 --random-output-len 8192 --goodput ttft:2000 tpot:80 "
        "--percentile-metrics ttft,ttfo,tpot,itl",
    ),
    "agentic": (
        "sessions of 8 tool calls whose context grows",
        _AGENT + "--random-input-len 8192 --random-output-len 220 --goodput ttft:1000 tpot:40",
    ),
    "mlperf-llama3.1-8b": (
        "MLPerf Inference, server scenario",
        _POISSON + _SMALL + "--goodput ttft:2000 tpot:100",
    ),
    "mlperf-llama3.1-8b-interactive": (
        "the same, interactive",
        _POISSON + _SMALL + "--goodput ttft:500 tpot:30",
    ),
    "mlperf-llama2-70b": (
        "MLPerf Inference, server scenario (its data set, from the hub)",
        _POISSON + _OPEN_ORCA + "--goodput ttft:2000 tpot:200",
    ),
    "mlperf-llama2-70b-interactive": (
        "the same, interactive",
        _POISSON + _OPEN_ORCA + "--goodput ttft:450 tpot:40",
    ),
    "mlperf-llama3.1-405b": (
        "MLPerf Inference, server scenario (its data set, from the hub)",
        _POISSON + _LONG + "--goodput ttft:6000 tpot:175",
    ),
    "mlperf-llama3.1-405b-interactive": (
        "the same, interactive",
        _POISSON + _LONG + "--goodput ttft:4500 tpot:80",
    ),
    "mlperf-deepseek-r1": (
        "MLPerf Inference, server scenario",
        _POISSON + _THINKING + "--goodput ttft:2000 tpot:80",
    ),
    "mlperf-deepseek-r1-interactive": (
        "the same, interactive",
        _POISSON + _THINKING + "--goodput ttft:1500 tpot:15",
    ),
}
#: Flags that set the arrivals, and the number of requests.
_PACE = (
    *("--ramp-up-strategy", "--self-timed", "--max-concurrency", "--concurrent-sessions"),
    *("--multi-turn-concurrency", "--capacity", "--users", "-u", "--user-rate"),
)
_AMOUNT = ("--duration", "--num-prompts", "--num-sessions")
#: If a flag of the first group is given, those of the second are dropped from the preset.
_INSTEAD = (
    (("--request-rate", *_PACE), ("--request-rate", "--concurrent-sessions")),
    (_AMOUNT, _AMOUNT),
)


class Listed(Exception):
    """``--preset list``: the message is the list."""


def expand_preset(argv: Sequence[str]) -> list[str]:
    """``argv`` with the flags of its ``--preset`` in front, so that flags given with it win.
    Raises ConfigError for an unknown name, Listed for ``list``.
    """
    rest, name = [], ""
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--preset":
            name = value if equals else next(words, "list")
        else:
            rest.append(word)
    if not name:
        return rest
    if name == "list":
        raise Listed(_table())
    if name not in PRESETS:
        raise ConfigError(f"--preset: {name!r} is not known; use one of {', '.join(PRESETS)}, list")
    given = {*map(flag_of, rest)}
    gone = {flag for others, flags in _INSTEAD if given & {*others} for flag in flags}
    own = by_flag(shlex.split(PRESETS[name][1]))
    return [*(word for group in own if group[0] not in gone for word in group), *rest]


def _table() -> str:
    width = max(map(len, PRESETS))
    return "\n\n".join(
        f"{name:<{width}}  {about}\n{'':<{width}}  {flags}"
        for name, (about, flags) in PRESETS.items()
    )
