"""Conditions on the figures of a result: ``p99_ttft_ms<=300``. Pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmbench_locust.errors import ConfigError, did_you_mean
from llmbench_locust.json_types import JsonValue
from llmbench_locust.metrics.latencies import KEYS
from llmbench_locust.results.shown import attained, block_of

#: Figures of a result that are single numbers; names of latencies begin with a statistic.
PLAIN = (
    *("attainment", "failed_share", "valid_answers", "completed", "failed", "duration"),
    *("request_throughput", "request_goodput", "output_throughput", "total_token_throughput"),
    *("max_output_tokens_per_s", "max_concurrent_requests"),
)
_ALIASES = {"slo_attainment.all": "attainment"}  # its name in the result
_OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|<|>)\s*(\S+)\s*")
_LATENCY = re.compile(rf"(mean|median|std|p\d{{1,2}}(?:\.\d+)?|p100)_({'|'.join(KEYS)})_ms")


def latency_of(key: str) -> tuple[str, str] | None:
    """(statistic, latency) of a latency's key, such as ("p99", "ttft"); None for another key."""
    found = _LATENCY.fullmatch(key)
    return (found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class Condition:
    """``key`` as in the result JSON, or ``failed_share``, ``valid_answers``, or ``attainment``
    (share of all requests that meet every objective of --goodput). ``sign``: one of <=, >=, <, >.
    ``name``: the key as the user wrote it.
    """

    key: str
    sign: str
    limit: float
    name: str

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.limit:g}"

    @property
    def latency(self) -> tuple[str, str] | None:
        return latency_of(self.key)

    def value(self, document: Mapping[str, JsonValue]) -> float | None:
        """The figure in a result, None if it is missing."""
        if self.key == "attainment":
            found: JsonValue = attained(document)
        elif self.key == "valid_answers":
            found = (block_of(document).get("answers") or {}).get("share")
        elif self.key == "failed_share":
            failed = document.get("failed", block_of(document).get("failed", 0))
            total = document.get("completed", 0) + failed
            found = failed / total if total else None
        else:
            found = document.get(self.key)
        return float(found) if isinstance(found, int | float) else None

    def holds(self, document: Mapping[str, JsonValue]) -> bool | None:
        """Whether the result meets it; None if the figure is missing."""
        value = self.value(document)
        return None if value is None else bool(_OPERATORS[self.sign](value, self.limit))


def parse_condition(text: str, flag: str) -> Condition:
    """``p99_ttft_ms<=300``. Raises ConfigError that names ``flag``."""
    found = _CONDITION.fullmatch(text)
    try:
        limit = float(found[3]) if found else math.nan
    except ValueError:
        limit = math.nan
    if found is None or math.isnan(limit):
        raise ConfigError(
            f"{flag}: {text!r} is not a condition; write FIGURE<=N, such as p99_ttft_ms<=300"
        )
    name = found[1]
    key = _ALIASES.get(name, name)
    if key not in PLAIN and not latency_of(key):
        names = [f"{s}_{x}_ms" for s in ("mean", "median", "std", "p99") for x in KEYS]
        hint = did_you_mean(key, [*PLAIN, *names], f"one of {', '.join(PLAIN)}, mean_ttft_ms, …")
        raise ConfigError(f"{flag}: {key!r} is not a figure of a result; {hint}")
    return Condition(key, found[2], limit, name)
