"""Decides by thresholds, with reasons, whether the client was the limit. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

import numpy as np

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.histogram import Histogram

#: Limits of the P99 lag of sends and of the loop: a client adds its lag to the latencies.
SEND_LAG_P99_S = 0.010
LOOP_LAG_P99_S = 0.005
#: A process that uses more of a core than this is saturated: arriving data has to wait.
CPU_FRACTION = 0.9
#: A process that is late but uses less than this was kept from running by something else.
BUSY_FRACTION = 0.5
#: Minimum number of samples for a 99th percentile.
LEAST_SAMPLES = 20
#: Limit of the share of chunks that were read together with a later one and so have its time. With
#: kernel timestamps, a late loop affects only these.
SHARED_CHUNKS = 0.01
#: Limit of the seconds with four times as many idle connections as the load ever used.
IDLE_EXCESS_S = 1.0
#: A process that waited longer than this for a core was kept from running by others.
STARVED_S = 0.1
#: An idle loop that was late for longer than this, and than it waited for a core, was stopped.
STILL_S = 2.0
#: A worker that was cut off from its master for longer than this sent late.
LAPSED_S = 0.1


@dataclass(frozen=True, slots=True)
class Connections:
    """``most_open``: peak of open connections; ``most_in_use``: peak of those used by requests;
    ``idle_excess_s``: seconds with more than four times ``most_in_use`` idle.
    """

    most_open: int = 0
    most_in_use: int = 0
    idle_excess_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Times in seconds. ``loop_lag``: how late the loop served an alarm that was set every
    ``loop_sample_s``. ``cpu_fraction``: of one core, by process; ``cores``: of this machine.
    ``burst``: the plan sends everything at once, as fast as the client can, so send lag is not a
    sign of overload. ``kernel_times``: arrival times are the kernel's, not those of the reads;
    ``shared_chunks``: number of ``token_events`` that were read together with a later one and have
    its time. ``starved_s``: maximum time that a process was ready to run while others had the
    core. ``lapsed_s``: maximum time that a worker was cut off from the master and could not send.
    ``calibration``: what `llmbench calibrate` found on this machine with as many processes.
    """

    send_lag: Histogram
    loop_lag: Histogram
    cpu_fraction: dict[str, float] = field(default_factory=dict)
    cores: int = 1
    overflow: int = 0
    resent: int = 0
    workers_lost: int = 0
    clock_error_s: float = 0.0
    burst: bool = False
    loop_sample_s: float = 0.02
    kernel_times: bool = False
    reader: str = "python"
    connections: Connections = Connections()
    starved_s: float = 0.0
    lapsed_s: float = 0.0
    shared_chunks: int = 0
    token_events: int = 0
    calibration: Json | None = None

    @property
    def loop_matters(self) -> bool:
        """Whether a late loop distorts figures."""
        return not self.kernel_times or self.shared_chunks > SHARED_CHUNKS * self.token_events

    def to_message(self) -> Json:
        lags = {name: getattr(self, name).to_message() for name in _LAGS}
        rest = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**rest, "connections": asdict(self.connections), **lags}

    @classmethod
    def from_message(cls, message: Json) -> AuditInputs:
        lags = {name: Histogram.from_message(message[name]) for name in _LAGS}
        return cls(**{**message, "connections": Connections(**message["connections"]), **lags})

    def after(self, earlier: AuditInputs | None) -> AuditInputs:
        """Add the lags of ``earlier``; returns self."""
        if earlier is not None:
            self.send_lag.merge(earlier.send_lag)
            self.loop_lag.merge(earlier.loop_lag)
        return self


_LAGS = ("send_lag", "loop_lag")


def verdict(inputs: AuditInputs) -> Json:
    """``client_limited`` with ``reasons`` and a ``hint`` on what to do, and the figures behind them
    (milliseconds; None without samples).

    ``ttft_error_mean_ms``, ``ttft_error_bound_ms``: by how much the client's lag can have increased
    TTFTs, on average and at most; with kernel timestamps only for first tokens that were read
    together with a later chunk. A TTFT is measured on one clock, so clock offsets do not matter.
    """
    send = _figures(inputs.send_lag)
    loop = _figures(as_seen_by_arrivals(inputs.loop_lag, inputs.loop_sample_s))
    reasons = _reasons(inputs, send, loop)
    return {
        "client_limited": bool(reasons),
        "reasons": reasons,
        "hint": _hint(inputs) if reasons else "",
        "send_lag_ms": send,
        "loop_lag_ms": loop,
        "reader": inputs.reader,
        "arrival_times": "kernel" if inputs.kernel_times else "process",
        "ttft_error_mean_ms": loop["mean"],
        "ttft_error_bound_ms": loop["max"],
        "cpu_fraction": {k: round(v, 4) for k, v in inputs.cpu_fraction.items()},
        "cores": inputs.cores,
        "overflow_requests": inputs.overflow,
        "resent_requests": inputs.resent,
        "most_connections": inputs.connections.most_open,
        "most_requests_in_flight": inputs.connections.most_in_use,
        "starved_s": inputs.starved_s,
        "workers_lost": inputs.workers_lost,
        "clock_error_ms": inputs.clock_error_s * 1000,
        "calibration": inputs.calibration,
    }


def _reasons(inputs: AuditInputs, send: Json, loop: Json) -> list[str]:
    reasons = []
    if (
        not inputs.burst
        and inputs.send_lag.total >= LEAST_SAMPLES
        and send["p99"] > SEND_LAG_P99_S * 1000
    ):
        reasons.append(
            f"requests left late: P99 send lag {send['p99']:.1f} ms (limit "
            f"{SEND_LAG_P99_S * 1000:g})"
        )
    late = inputs.loop_lag.total >= LEAST_SAMPLES and loop["p99"] > LOOP_LAG_P99_S * 1000
    if late and inputs.loop_matters:
        reasons.append(
            f"the event loop ran late: P99 {loop['p99']:.1f} ms (limit {LOOP_LAG_P99_S * 1000:g})"
        )
    for process, used in sorted(inputs.cpu_fraction.items()):
        if process != "master" and used > CPU_FRACTION:
            reasons.append(
                f"process {process} used {used * 100:.0f}% of a core (limit "
                f"{CPU_FRACTION * 100:g}%)"
            )
    if inputs.workers_lost:
        reasons.append(f"workers lost: {inputs.workers_lost}")
    connections = inputs.connections
    if connections.idle_excess_s > IDLE_EXCESS_S:
        reasons.append(
            f"{connections.most_open} connections were open for at most {connections.most_in_use} "
            f"requests in flight: the server may behave differently (--prewarm-connections)"
        )
    return reasons


def _hint(inputs: AuditInputs) -> str:
    """What to do: a client that was late without work or waiting was stopped, one that waited for
    its master was cut off, one that waited for a core was starved, any other is overloaded.
    """
    used = [fraction for process, fraction in inputs.cpu_fraction.items() if process != "master"]
    busiest = max(used, default=1.0)
    if inputs.connections.idle_excess_s > IDLE_EXCESS_S:
        return "open fewer connections in advance (--prewarm-connections)"
    if inputs.workers_lost:
        return "find out why workers were lost: stopped, out of memory, or cut off from the master"
    idle = busiest < BUSY_FRACTION
    still_s = inputs.loop_lag.max_s if inputs.loop_lag.total else 0.0
    if idle and still_s > max(STILL_S, inputs.starved_s):
        return (
            f"the client stood still for {still_s:.1f} s at once: it was stopped, or its machine "
            "was suspended; repeat the run"
        )
    if inputs.lapsed_s > LAPSED_S:
        return (
            f"a worker was cut off from the master and could not send for {inputs.lapsed_s:.1f} s: "
            "check the network between them, and give each a core of its own"
        )
    if idle and inputs.starved_s > STARVED_S:
        return (
            f"the client was starved of CPU (it used {busiest * 100:.0f}% of a core but waited "
            f"{inputs.starved_s:.1f} s for one): give it cores of its own"
        )
    return "use more worker processes: --processes N, or more machines (docs/scaling.md)"


def as_seen_by_arrivals(lag: Histogram, sample_s: float) -> Histogram:
    """The loop's lag as arrivals at random times would see it.

    A loop that is blocked for a second serves only one alarm in that time, a second late, but data
    that arrives during that second waits for between 0 and 1 s. So each lag also counts as the
    alarms that were not set meanwhile: lag − 20 ms, lag − 40 ms, …
    """
    seconds, times = lag.samples()
    missed = np.minimum(seconds / sample_s, 100_000).astype(np.int64)
    which = np.repeat(np.arange(len(seconds)), missed)
    place = np.arange(len(which)) - np.repeat(np.cumsum(missed) - missed, missed) + 1
    seen = lag.copy()
    seen.add(seconds[which] - place * sample_s, times[which])
    return seen


def _figures(lag: Histogram) -> Json:
    if not lag.total:
        return {"mean": None, "p50": None, "p99": None, "max": None}
    p50, p99 = lag.percentiles([50, 99])
    found = {"mean": lag.mean_s, "p50": p50, "p99": p99, "max": lag.max_s}
    return {name: seconds * 1000 for name, seconds in found.items()}
