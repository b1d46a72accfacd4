"""Flags of what a run costs and draws."""

from __future__ import annotations

from dataclasses import dataclass

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options import checks
from llmbench_locust.options.flag import flag


@dataclass(frozen=True)
class Cost:
    num_gpus: int | None = flag(
        None, "GPUs of the server: adds the throughput of one GPU. For prices: 1.", least=1
    )
    gpu_hour_price: float | None = flag(
        None,
        "Price of one GPU for an hour, in any currency: adds what tokens and requests cost.",
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
        "Pages of DCGM exporters that tell power and energy of the server's GPUs, or nvml for the "
        "GPUs of this machine. Behind # the GPUs to count: nvml#0,1.",
        parse=checks.gpu_pages,
        metavar="URL|nvml",
    )


def check(v: Json) -> None:
    """A server is paid by the hour or by the token. Raises ConfigError."""
    by_token = next((n for n in ("price_input", "price_output") if v[n] is not None), None)
    if by_token and v["gpu_hour_price"] is not None:
        raise ConfigError(
            f"--{by_token.replace('_', '-')}: cannot be used with --gpu-hour-price; a server is "
            "paid by the token or by the hour"
        )
