"""Flags of what users do besides waiting for a response."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options import checks
from llmbench_locust.options.flag import flag


@dataclass(frozen=True)
class Behaviour:
    preset: str | None = flag(
        None,
        "Workload with a name, whose flags others given besides replace; list prints all of them.",
        metavar="NAME|list",
    )
    cancel_rate: float = flag(
        0.0,
        "Share of the requests that the client cancels, from 0 to 1; needs --cancel-after.",
        least=0,
        most=1,
    )
    cancel_after_s: float | None = flag(
        None,
        "Time after which such a request is cancelled by closing its connection, such as 2s.",
        name="cancel-after",
        kind="text",
        metavar="TIME",
        parse=checks.duration("cancel-after"),
    )
    client_timeout_s: float | None = flag(
        None,
        "Time after which the client gives up an attempt, such as 30s; --request-timeout is for "
        "all attempts of a request together.",
        name="client-timeout",
        kind="text",
        metavar="TIME",
        parse=checks.duration("client-timeout"),
    )
    retries: int = flag(
        0,
        "Attempts after the first one when a request times out or fails in a way that may pass; "
        "pauses of 0.5 s, 1 s, 2 s … before them.",
        least=0,
        most=100,
    )
    balance: str = flag(
        "round-robin",
        "Which of several --base-url gets a request: each in turn, the same for a session, or the "
        "one with the fewest requests of this process in flight.",
        allowed=("round-robin", "session", "least-in-flight"),
    )
    session_echo: str | None = flag(
        None,
        "Name of a header that the server sends with the first response of a session and gets back "
        "with its later requests.",
        metavar="NAME",
    )
    structured_output: str | None = flag(
        None, "File of a JSON schema that the responses must follow.", metavar="FILE"
    )
    structured_output_ratio: float = flag(
        1.0, "Share of the requests that ask for --structured-output.", least=0, most=1
    )
    tool_choice: str | None = flag(
        None,
        "Tool choice of the requests that have tools: auto, none, required, or a tool's name.",
        metavar="NAME",
    )
    check_answers: str | None = flag(
        None,
        "Report the share of valid responses: nonempty, json, json_schema (that of "
        "--structured-output), tool_call, exact:FIELD (of the dataset) or regex:PATTERN.",
        metavar="CHECK",
    )
    expect_same_as: str | None = flag(
        None,
        "Result file with --save-detailed of the same workload: report the share of equal "
        "responses.",
        metavar="FILE",
    )


_CHECKS = ("nonempty", "json", "json_schema", "tool_call")


def check(v: Json) -> None:
    """Which of them go together. Raises ConfigError."""
    if v["preset"] is not None:
        raise ConfigError("--preset: give it on the command line")
    _check_answers(v)
    if v["structured_output"] is None and v["structured_output_ratio"] != 1:
        raise ConfigError("--structured-output-ratio: only with --structured-output")
    for name in ("structured_output", "expect_same_as"):
        if v[name] is not None and not os.path.isfile(v[name]):
            raise ConfigError(f"--{name.replace('_', '-')}: file not found: {v[name]!r}")
    if v["expect_same_as"] is not None and v["sampling"].get("temperature") != 0:
        raise ConfigError(
            "--expect-same-as: only greedy responses can be compared; use --temperature 0"
        )
    if (v["cancel_rate"] > 0) is not (v["cancel_after_s"] is not None):
        raise ConfigError("--cancel-rate and --cancel-after: each needs the other one")


def _check_answers(v: Json) -> None:
    if v["check_answers"] is None:
        return
    name, mark, detail = v["check_answers"].partition(":")
    known = (name in _CHECKS and not mark) or (name in ("exact", "regex") and detail)
    if not known:
        raise ConfigError(
            f"--check-answers: {v['check_answers']!r} is not known; use one of "
            f"{', '.join(_CHECKS)}, exact:FIELD or regex:PATTERN"
        )
    if name == "json_schema" and v["structured_output"] is None:
        raise ConfigError("--check-answers: json_schema needs --structured-output FILE")
    if name == "regex":
        try:
            re.compile(detail)
        except re.error as e:
            raise ConfigError(
                f"--check-answers: {detail!r} is not a regular expression: {e}"
            ) from None
