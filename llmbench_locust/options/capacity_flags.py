"""Flags of the search for a capacity."""

from __future__ import annotations

from dataclasses import dataclass

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.flag import flag
from llmbench_locust.options.values import integer, seconds


@dataclass(frozen=True)
class Capacity:
    capacity: bool = flag(
        False, "Search for the largest load that meets the objectives of --goodput and --slo."
    )
    attainment: float = flag(
        0.99,
        "Share of all requests that must meet every objective of --goodput.",
        above=0,
        most=1,
    )
    slo: tuple[str, ...] = flag(
        None,
        "Conditions on figures of the result, as 'p99_ttft_ms<=300'; may be repeated.",
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
        20.0, "Least seconds of a probe near the capacity.", above=0, finite=True
    )
    same_prompts: bool = flag(False, "Send the same prompts in every probe.")
    resume: str | None = flag(
        None,
        "Directory of an earlier search to go on with; or the journal of a run, with whose flags "
        "what has no outcome there is sent.",
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
