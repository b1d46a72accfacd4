"""Flags of what users do besides waiting for a response."""

from __future__ import annotations

from dataclasses import dataclass

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options import checks
from llmbench_locust.options.flag import flag


@dataclass(frozen=True)
class Behaviour:
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


def check(v: Json) -> None:
    """Which of them go together. Raises ConfigError."""
    if (v["cancel_rate"] > 0) is not (v["cancel_after_s"] is not None):
        raise ConfigError("--cancel-rate and --cancel-after: each needs the other one")
