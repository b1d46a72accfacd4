"""The verdict: thresholds on both sides, and a stall counted as what arrives in it sees it."""

import json

import numpy as np
import pytest

from llmbench_locust.metrics.audit import AuditInputs, Connections, as_seen_by_arrivals, verdict
from llmbench_locust.metrics.histogram import Histogram
from tests.metrics.rows import histogram, lags


def inputs(send=0.001, loop=0.0005, n=1000, **more):
    more = {"cpu_fraction": {"local": 0.3}, "cores": 2, **more}
    return AuditInputs(lags(send, n), lags(loop, n), **more)


def test_a_client_that_kept_up():
    found = verdict(inputs())
    assert found["client_limited"] is False
    assert found["reasons"] == []
    assert found["send_lag_ms"] == pytest.approx({"mean": 1.0, "p50": 1.0, "p99": 1.0, "max": 1.0})
    assert found["ttft_error_bound_ms"] == pytest.approx(0.5)
    json.dumps(found)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (inputs(send=0.011), "requests left late: P99 send lag 11.0 ms (limit 10)"),
        (inputs(loop=0.006), "the event loop ran late: P99 6.0 ms (limit 5)"),
        (inputs(cpu_fraction={"w1": 0.2, "w2": 0.95}), "process w2 used 95% of a core (limit 90%)"),
        (inputs(workers_lost=1), "workers lost: 1"),
    ],
)
def test_each_limit_has_its_reason(given, reason):
    found = verdict(given)
    assert found["client_limited"] is True
    assert found["reasons"] == [reason]


@pytest.mark.parametrize(
    "given",
    [
        inputs(send=0.009),
        inputs(loop=0.004),
        inputs(send=3.0, burst=True),  # everything at once: sends follow each other
        inputs(send=1.0, n=5),  # too few to have a 99th percentile
        inputs(cpu_fraction={"master": 1.0, "w1": 0.5}),  # the master sends nothing
        inputs(overflow=50, resent=3, clock_error_s=0.02),  # told, but no limit of the client's
        # Bursts of its own: 5,000 streams that get their tokens at the same moment. With the
        # kernel's times every figure is exact, and nobody kept it waiting.
        inputs(
            loop=0.3,
            cpu_fraction={"local": 0.85},
            starved_s=0.02,
            kernel_times=True,
            token_events=640_000,
            shared_chunks=900,
        ),
    ],
)
def test_below_the_limits_and_what_is_none(given):
    assert verdict(given)["client_limited"] is False


def test_a_stall_of_a_second_is_seen_by_all_that_arrives_in_it():
    # 9.98 s of a loop on time, then one alarm a second late: of eleven seconds of arrivals, one saw
    # lags of 1 s down to 0.
    lag = np.append(np.zeros(499), 1.0)
    seen = as_seen_by_arrivals(histogram(lag), 0.02)
    assert seen.total == 550
    assert seen.sum_s == pytest.approx(1.0 + sum(1.0 - 0.02 * k for k in range(1, 51)), rel=1e-3)
    # One sample of 500 is beyond any 99th percentile; a second of eleven is not.
    found = verdict(AuditInputs(lags(0.0), histogram(lag)))
    assert found["client_limited"] is True
    assert found["loop_lag_ms"]["p99"] > 800
    assert found["ttft_error_bound_ms"] == pytest.approx(1000)
    assert as_seen_by_arrivals(histogram(np.array([0.001, 0.019])), 0.02).total == 2


def test_the_lags_of_parts_are_those_of_the_whole():
    parts = [inputs(send=s, loop=2 * s, n=n, overflow=n) for s, n in ((0.001, 30), (0.02, 5))]
    first, last = (AuditInputs.from_message(part.to_message()) for part in parts)
    both = last.after(None).after(first)
    assert both.overflow == 5
    whole = histogram(np.repeat([0.001, 0.02], [30, 5]))
    assert np.array_equal(both.send_lag.counts, whole.counts)
    assert verdict(both)["send_lag_ms"] == pytest.approx(
        {"mean": 26 / 7, "p50": 1.0, "p99": 20.0, "max": 20.0}, rel=1e-3
    )


def test_without_samples():
    found = verdict(AuditInputs(Histogram(), Histogram()))
    assert found["client_limited"] is False
    assert found["send_lag_ms"] == {"mean": None, "p50": None, "p99": None, "max": None}
    assert found["ttft_error_bound_ms"] is None


def test_with_the_kernels_times_a_late_loop_matters_only_where_chunks_share_a_read():
    late = {"loop": 0.02, "kernel_times": True, "token_events": 1000}
    assert verdict(inputs(**late, shared_chunks=5))["client_limited"] is False
    assert verdict(inputs(**late, shared_chunks=50))["reasons"] == [
        "the event loop ran late: P99 20.0 ms (limit 5)"
    ]


def test_too_many_idle_connections_are_a_reason_of_their_own():
    few = Connections(most_open=9, most_in_use=2, idle_excess_s=0.0)
    many = Connections(most_open=200, most_in_use=5, idle_excess_s=2.0)
    assert verdict(inputs(connections=few))["client_limited"] is False
    found = verdict(inputs(connections=many))
    assert "200 connections were open for at most 5 requests in flight" in found["reasons"][0]
    assert "--prewarm-connections" in found["hint"]


def test_starvation_is_told_from_own_bursts_by_the_run_queue():
    idle = {"loop": 0.02, "cpu_fraction": {"local": 0.06, "master": 0.9}}
    assert (
        "starved of CPU (it used 6% of a core but waited 1.5 s"
        in (verdict(inputs(**idle, starved_s=1.5))["hint"])
    )
    # A run of 2 s on a busy machine: it used 0.15 s of CPU.
    assert "starved of CPU" in verdict(inputs(**idle, starved_s=0.138))["hint"]
    assert verdict(inputs(**idle))["hint"].startswith("use more worker processes")
    assert verdict(inputs(loop=0.02, cpu_fraction={"local": 0.8}))["hint"].startswith(
        "use more worker processes"
    )
    assert "cut off" in verdict(inputs(workers_lost=1))["hint"]
    assert "for 1.5 s" in verdict(inputs(**idle, starved_s=0.2, lapsed_s=1.5))["hint"]
    assert verdict(inputs())["hint"] == ""


def test_a_client_that_was_stopped_is_not_called_starved():
    stopped = inputs(loop=90.0, cpu_fraction={"local": 0.01}, starved_s=3.5)
    assert verdict(stopped)["hint"].startswith("the client stood still for 90.0 s at once")
    starved = inputs(loop=3.0, cpu_fraction={"local": 0.01}, starved_s=60.0)
    assert "starved of CPU" in verdict(starved)["hint"]
