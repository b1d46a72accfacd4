"""Costs, checked by hand."""

from dataclasses import replace

import pytest

from llmbench_locust.cli import main
from llmbench_locust.metrics.cost import Product, money, unit_costs
from llmbench_locust.results.console import render_console
from llmbench_locust.results.document import build_document
from llmbench_locust.results.headline import tiles
from llmbench_locust.results.shown import Shown
from tests.metrics.rows import columns, failed, row
from tests.results.runs import config, figures

# Prices of nothing but what a test is about.
FREE = {"num_gpus": None, "gpu_hour_price": None, "price_input": None, "price_output": None}


def of(**prices):
    """Figures of 10 s: two requests of 10 + 4 tokens, one too slow for TTFT 150 ms, one failed."""
    records = columns(
        row(0, 0.0, 0.1, (0.1, 0.1, 0.1)), row(1, 1.0, 0.2, (0.1, 0.1, 0.1)), failed(2, 2.0, 3.0)
    )
    given = replace(config(goodput={"ttft": 150.0}), **{**FREE, **prices})
    return figures(records, given=given, duration_s=10.0)


def test_gpus_by_the_hour():
    """8 GPUs × 3.60 an hour × 10 s = 0.08, for 8 output tokens, 28 tokens, 2 requests."""
    found = of(num_gpus=8, gpu_hour_price=3.6).block["cost"]
    assert found["total"] == pytest.approx(0.08)
    assert found["per_million_output_tokens"] == pytest.approx(10_000)
    assert found["per_million_total_tokens"] == pytest.approx(0.08 / 28e-6)
    assert found["per_thousand_requests"] == pytest.approx(40)
    assert found["at_goodput"] == pytest.approx(
        {
            "per_million_output_tokens": 20_000,
            "per_million_total_tokens": 0.08 / 14e-6,
            "per_thousand_requests": 80,
        }
    )


def test_an_api_by_the_token():
    """20 prompt tokens at 3 and 8 output tokens at 15 a million: 60 + 120 = 180 millionths."""
    found = of(price_input=3.0, price_output=15.0).block["cost"]
    assert found["total"] == pytest.approx(180e-6)
    assert found["per_million_output_tokens"] == pytest.approx(22.5)
    assert found["per_thousand_requests"] == pytest.approx(0.09)


def test_console_and_report_show_it():
    done = of(num_gpus=2, gpu_hour_price=3.6)
    shown = render_console(done)
    assert f"{'Cost per thousand requests:':<40} 10" in shown
    assert f"{'Goodput cost per thousand requests:':<40} 20" in shown
    assert f"{'Output throughput (tok/s/GPU):':<40} 0.40" in shown
    assert ("Cost of a million output tokens", "2500") in tiles(
        Shown.of(done, build_document(done))
    )


def test_without_prices_there_is_no_cost():
    done = of()
    assert done.block["cost"] is None
    assert done.block["per_gpu"] is None
    assert "Cost" not in render_console(done)


def test_one_gpu_is_meant_without_a_number():
    prices = replace(config(), **{**FREE, "gpu_hour_price": 2.0})
    assert money(prices, 1800.0, Product(0, 0, 0)) == 1.0
    assert unit_costs(1.0, Product(0, 0, 0)) == dict.fromkeys(
        ("per_million_output_tokens", "per_million_total_tokens", "per_thousand_requests")
    )


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--num-gpus", "0"], "--num-gpus: 0 is too small; use 1 or more"),
        (["--gpu-hour-price", "0"], "--gpu-hour-price: 0 is too small"),
        (["--gpu-metrics", "gpu7"], "--gpu-metrics: 'gpu7' is not the URL of a metrics page; use "),
        (["--price-input", "1", "--gpu-hour-price", "2"], "paid by the token or by the hour"),
    ],
)
def test_bad_prices_are_one_line(argv, line, capfd):
    assert main(["serve", "--sim", *argv]) == 2
    assert line in capfd.readouterr().err
