"""`llmbench plot`: cells, costs, the Pareto frontier."""

import json
import sys

import pytest

from llmbench_locust.cli.plot import main
from llmbench_locust.errors import ConfigError
from llmbench_locust.experiments import curves


def write(directory, name, **figures):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures))


@pytest.fixture
def sweep(tmp_path):
    for users, tokens in ((1, 100.0), (4, 300.0), (8, 200.0)):
        for run in range(2):
            figures = {"max_concurrency": users, "output_throughput": tokens + run}
            write(
                tmp_path,
                f"BENCH--u={users}/run={run}.json",
                request_rate=float(users),
                median_ttft_ms=10.0 * users,
                **figures,
            )
    write(tmp_path, "BENCH--u=1/run=2.failure.json", error="no")
    return tmp_path


def test_a_page_has_the_curves_the_table_and_the_costs(sweep):
    assert main([str(sweep), "--gpu-hour-price", "3.6", "--num-gpus", "1"]) == 0
    page = (sweep / "report.html").read_text()
    for words in (
        "TTFT against rate",
        "Pareto frontier",
        "BENCH--u=4",
        "$ per million output tokens",
        "Cost against rate",
    ):
        assert words in page


def test_runs_with_prices_and_gpus_have_curves_of_cost_and_energy(tmp_path):
    for rate in (1.0, 2.0):
        cost = {"per_million_output_tokens": 8 / rate, "at_goodput": None}
        cost["at_goodput"] = {"per_million_output_tokens": 10 / rate} if rate == 2 else None
        block = {"cost": cost, "gpu": {"joules_per_output_token": 3 / rate}}
        write(tmp_path, f"r={rate}/run=0.json", request_rate=rate, llmbench=block)
    cells = curves.cells_of(tmp_path)
    drawn = dict(curves.charts(cells, curves.Prices(), []))
    lines = {line["name"]: (line["x"], line["y"]) for line in drawn["Cost against rate"]["data"]}
    assert lines == {
        "all requests": ([1.0, 2.0], [8.0, 4.0]),
        "requests that met the objectives": ([2.0], [5.0]),
    }
    assert drawn["Energy against rate"]["data"][0]["y"] == [3.0, 1.5]


def test_a_run_in_which_nothing_succeeded_has_no_latency(tmp_path):
    figures = {"request_rate": 8.0, "request_throughput": 0.0, "median_ttft_ms": 0.0}
    write(tmp_path, "r=8/run=0.json", **figures)
    write(tmp_path, "r=8/run=1.json", **figures | {"median_ttft_ms": 30.0})
    write(tmp_path, "r=9/run=0.json", **figures | {"request_rate": 9.0})
    cells = curves.cells_of(tmp_path)
    drawn = dict(curves.charts(cells, curves.Prices(), []))
    assert drawn["TTFT against rate"]["data"][0]["y"] == [30.0]
    assert [row[4] for row in curves.table(cells, curves.Prices())[1:]] == ["30", ""]


def test_large_figures_are_written_out(tmp_path):
    for run, tokens in enumerate((24_210.4, 24_710.4)):
        figures = {"request_rate": 8.0, "output_throughput": tokens, "p99_ttft_ms": 9999.7}
        write(tmp_path, f"r=8/run={run}.json", **figures)
    row = curves.table(curves.cells_of(tmp_path), curves.Prices())[1]
    assert row[3] == "24460 ± 3177"  # t(1) · sd ÷ √2, sd = 500 ÷ √2
    assert row[5] == "10000"


def test_a_mean_has_the_interval_of_its_runs(sweep):
    cell = curves.cells_of(sweep)[0]
    value, half = curves.mean(cell, lambda run: run["output_throughput"])
    assert value == 100.5
    assert half == pytest.approx(12.706 * 0.5, rel=1e-3)  # t(1) · sd ÷ √2, sd = 1 ÷ √2


def test_the_frontier_leaves_out_what_is_worse_in_both(sweep):
    cells = curves.cells_of(sweep)
    pareto = curves.charts(cells, curves.Prices(), [])[-1][1]["data"][1]
    assert pareto["x"] == [300.5 / 4, 100.5]


def test_costs_are_by_gpu_hour_and_throughput():
    prices = curves.Prices(hour=3.6)
    run = {"output_throughput": 1000.0, "tensor_parallel_size": 2}
    assert prices.per_million(run, "output_throughput") == pytest.approx(2.0)


def test_a_directory_without_results_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no results"):
        main([str(tmp_path)])


def test_the_cost_at_the_capacity_is_of_the_nearest_probes_tokens(tmp_path):
    write(
        tmp_path,
        "probes/01-8.json",
        request_throughput=8.0,
        output_throughput=800.0,
        total_token_throughput=1600.0,
    )
    write(tmp_path, "capacity.json", capacity=10.0)
    cells = curves.cells_of(tmp_path)
    line = curves.cost_at_capacity(tmp_path, cells, curves.Prices(1, 3.6))
    # 100 output tokens a request: 1,000 tokens a second at a thousandth of a dollar a second
    assert line.endswith("10 req/s $1 per million output tokens, $0.5 per million tokens")
    assert curves.cost_at_capacity(tmp_path, cells, curves.Prices()) == ""
    write(tmp_path, "capacity.json", capacity=10, unit="users")
    assert curves.capacity_of(tmp_path) is None


def test_cells_that_keep_their_requests_have_a_box_each(tmp_path):
    for rate, first in ((10.0, 0.1), (2.0, 0.3)):
        found = {"ttfts": [first, 9.0], "latencies": [1.1, 9.0], "output_lens": [11, 1]}
        write(tmp_path, f"r={rate}/run=0.json", request_rate=rate, errors=["", "lost"], **found)
    write(tmp_path, "r=5/run=0.json", request_rate=5.0)
    drawn = dict(curves.charts(curves.cells_of(tmp_path), curves.Prices(), []))
    (box,) = drawn["TTFT by cell"]["data"]
    assert (box["x"], box["median"]) == (("r=2.0", "r=10.0"), (300.0, 100.0))
    axis = drawn["TPOT by cell"]["layout"]["yaxis"]
    assert (axis["type"], axis.get("dtick")) == ("log", None), "20 alone says nothing of 18 to 25"
    assert drawn["TPOT by cell"]["data"][0]["q3"] == pytest.approx((80.0, 100.0))


def test_images_without_kaleido_are_one_line(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(ConfigError, match=r"^--format png: needs kaleido .*$"):
        main([str(sweep), "--format", "png"])
