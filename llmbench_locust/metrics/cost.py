"""The cost of a run, in total and per unit. Pure. Money is in the currency of the prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.latencies import input_lengths
from llmbench_locust.metrics.vllm import Summary, good
from llmbench_locust.options.own_flags import Cost
from llmbench_locust.records import RecordColumns

_HOUR_S, _MILLION = 3600.0, 1e6


@dataclass(frozen=True, slots=True)
class Product:
    requests: float
    input_tokens: float
    output_tokens: float


def money(prices: Cost, seconds: float, done: Product) -> float | None:
    """The cost of ``seconds`` of the GPUs, or of an API's tokens; None without a price."""
    if prices.gpu_hour_price is not None:
        return prices.gpu_hour_price * (prices.num_gpus or 1) * seconds / _HOUR_S
    if prices.price_input is None and prices.price_output is None:
        return None
    tokens = done.input_tokens * (prices.price_input or 0.0)
    return (tokens + done.output_tokens * (prices.price_output or 0.0)) / _MILLION


def unit_costs(paid: float, got: Product) -> dict[str, float | None]:
    """Cost per unit of each product; None if there is none of it."""
    amounts = {
        "per_million_output_tokens": got.output_tokens / _MILLION,
        "per_million_total_tokens": (got.input_tokens + got.output_tokens) / _MILLION,
        "per_thousand_requests": got.requests / 1000,
    }
    return {name: paid / amount if amount else None for name, amount in amounts.items()}


def cost(
    prices: Cost, columns: RecordColumns, summary: Summary, goodput_ms: dict[str, float]
) -> Json | None:
    """``total`` and unit costs; ``at_goodput``: only for requests that met the objectives, None
    without objectives. None without a price.
    """
    everything = _product(columns, summary, summary.latencies.ok)
    paid = money(prices, summary.duration_s, everything)
    if paid is None:
        return None
    met = good(summary.latencies, goodput_ms)
    return {
        "total": paid,
        **unit_costs(paid, everything),
        "at_goodput": unit_costs(paid, _product(columns, summary, met)) if goodput_ms else None,
    }


def _product(columns: RecordColumns, summary: Summary, rows: NDArray[np.bool_]) -> Product:
    return Product(
        int(np.count_nonzero(rows)),
        int(input_lengths(columns)[rows].sum()),
        int(summary.output_lens[rows].sum()),
    )


def per_gpu(prices: Cost, summary: Summary) -> dict[str, float] | None:
    """Throughputs per GPU; None without --num-gpus."""
    if prices.num_gpus is None:
        return None
    names = ("request_throughput", "output_throughput", "total_token_throughput")
    return {name: getattr(summary, name) / prices.num_gpus for name in names}
