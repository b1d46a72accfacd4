"""Flags that vLLM does not have: what users do, what a server costs, the search for a capacity."""

from __future__ import annotations

import os
import re

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options import checks
from llmbench_locust.options.flag import flag, section
from llmbench_locust.options.values import integer, seconds


@section
class Behaviour:
    """What users do besides waiting for a response."""

    preset: str | None = flag(
        None,
        "Named workload: a set of flags, which flags given with it override. list prints all.",
        metavar="NAME|list",
    )
    cancel_rate: float = flag(
        0.0,
        "Share of the requests that the client cancels, from 0 to 1; needs --cancel-after.",
        least=0,
        most=1,
    )
    cancel_after_s: float | None = checks.time_flag(
        "cancel-after",
        "Time after which such a request is cancelled by closing its connection, such as 2s.",
    )
    client_timeout_s: float | None = checks.time_flag(
        "client-timeout",
        "Timeout of one attempt, such as 30s; --request-timeout limits all attempts of a request "
        "together.",
    )
    retries: int = flag(
        0,
        "Retries of a request that times out or fails with a transient error, after pauses of "
        "0.5 s, 1 s, 2 s, ….",
        least=0,
        most=100,
    )
    balance: str = flag(
        "round-robin",
        "Which of several --base-url gets a request: each in turn, the same one for a session, or "
        "the one with the fewest requests of this process in flight.",
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


@section
class Cost:
    num_gpus: int | None = flag(
        None,
        "Number of GPUs of the server; adds the throughput per GPU. Default for prices: 1.",
        least=1,
    )
    gpu_hour_price: float | None = flag(
        None,
        "Price of one GPU for an hour, in any currency; adds the cost of tokens and requests.",
        above=0,
        finite=True,
    )
    price_input: float | None = flag(
        None, "Price of a million prompt tokens of an API.", least=0, finite=True
    )
    price_output: float | None = flag(
        None, "Price of a million output tokens of an API.", least=0, finite=True
    )
    gpu_metrics: tuple[str, ...] = flag(
        None,
        "Metrics pages of DCGM exporters with the power and energy of the server's GPUs, or nvml "
        "for the GPUs of this machine. nvml#0,1 selects GPUs 0 and 1.",
        parse=checks.gpu_pages,
        metavar="URL|nvml",
    )


@section
class Capacity:
    capacity: bool = flag(
        False, "Search for the largest load that meets the objectives of --goodput and --slo."
    )
    attainment: float = flag(
        0.99, "Share of all requests that must meet every objective of --goodput.", above=0, most=1
    )
    slo: tuple[str, ...] = flag(
        None,
        "Conditions on figures of the result, such as 'p99_ttft_ms<=300'; may be repeated.",
        metavar="CONDITION",
        repeats=True,
    )
    search: str = flag(
        "request-rate",
        "Load to search: requests per second, or users of a closed loop.",
        allowed=("request-rate", "max-concurrency"),
    )
    min: float | None = flag(
        None, "Lowest load to try. Default: 0.5 requests per second, or 1 user.", above=0
    )
    max: float = flag(10_000.0, "Highest load to try.", above=0, finite=True)
    tolerance: float = flag(
        0.05,
        "Stop at this half-width of the 95% interval, as a share of the capacity.",
        above=0,
        finite=True,
    )
    budget: tuple[float | None, int | None] = flag(
        "15m",
        "Stop after this time (15m), or this many requests (10000req).",
        kind="text",
        parse=lambda text: _budget(text),
    )
    probe_time: float = flag(
        20.0, "Shortest duration of a probe near the capacity, in seconds.", above=0, finite=True
    )
    same_prompts: bool = flag(False, "Send the same prompts in every probe.")
    resume: str | None = flag(
        None,
        "Directory of an earlier search to continue, or journal of an interrupted run, whose "
        "remaining requests are sent with its flags.",
        metavar="PATH",
    )


def _budget(text: object) -> tuple[float | None, int | None]:
    """(seconds, requests) of ``15m`` or ``10000req``."""
    given = str(text).lower().strip()
    count = given.removesuffix("requests").removesuffix("req").strip()
    if count == given:
        return seconds("--budget", given), None
    requests = integer("--budget", count)
    if requests < 1:
        raise ConfigError(f"--budget: {requests} requests are too few; use 1 or more")
    return None, requests


_CHECKS = ("nonempty", "json", "json_schema", "tool_call")


def check(v: Json) -> None:
    """Check combinations of them. Raises ConfigError."""
    by_token = next((n for n in ("price_input", "price_output") if v[n] is not None), None)
    if by_token and v["gpu_hour_price"] is not None:
        raise ConfigError(
            f"--{by_token.replace('_', '-')}: cannot be used with --gpu-hour-price; a server is "
            "paid by the token or by the hour"
        )
    if v["preset"] is not None:
        raise ConfigError("--preset: give it on the command line")
    _check_answers(v)
    for name in ("session_header", "session_echo"):
        if v[name]:
            checks.header_name(f"--{name.replace('_', '-')}", v[name])
    checks.header_value(f"--request-id-prefix: {v['request_id_prefix']!r}", v["request_id_prefix"])
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
