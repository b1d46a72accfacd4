"""Was the client the limit? One verdict from what the client recorded of itself. Pure thresholds, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A client whose sends or loop are later than this, at the 99th percentile, adds as much to what it reports.
SEND_LAG_P99_S = 0.010
LOOP_LAG_P99_S = 0.005
#: A process that uses more of one core than this has no room left: what arrives waits for it.
CPU_FRACTION = 0.9
#: Few samples say nothing of a 99th percentile.
LEAST_SAMPLES = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Seconds, unless said otherwise. ``cpu_fraction``: of one core, by process. ``burst``: the plan sends everything at once,
    so that sends follow each other as fast as the client can and their lag says nothing of the rest."""

    send_lag_s: Floats
    loop_lag_s: Floats
    cpu_fraction: dict[str, float] = field(default_factory=dict)
    cores: int = 1
    overflow: int = 0
    resent: int = 0
    workers_lost: int = 0
    clock_error_s: float = 0.0
    burst: bool = False


def verdict(inputs: AuditInputs) -> dict[str, Any]:
    """``client_limited`` with ``reasons``, and the figures that they stand on (milliseconds; None without samples)."""
    send, loop = _figures(inputs.send_lag_s), _figures(inputs.loop_lag_s)
    reasons = []
    if not inputs.burst and len(inputs.send_lag_s) >= LEAST_SAMPLES and send["p99"] > SEND_LAG_P99_S * 1000:
        reasons.append(f"requests left late: P99 send lag {send['p99']:.1f} ms (limit {SEND_LAG_P99_S * 1000:g})")
    if len(inputs.loop_lag_s) >= LEAST_SAMPLES and loop["p99"] > LOOP_LAG_P99_S * 1000:
        reasons.append(f"the event loop ran late: P99 {loop['p99']:.1f} ms (limit {LOOP_LAG_P99_S * 1000:g})")
    for process, used in sorted(inputs.cpu_fraction.items()):
        if used > CPU_FRACTION and process != "master":
            reasons.append(f"process {process} used {used * 100:.0f}% of a core (limit {CPU_FRACTION * 100:g}%)")
    return {
        "client_limited": bool(reasons),
        "reasons": reasons,
        "send_lag_ms": send,
        "loop_lag_ms": loop,
        # What stands between an arrival and its timestamp is at most the loop's lag.
        "ttft_error_bound_ms": loop["max"],
        "cpu_fraction": {k: round(v, 4) for k, v in inputs.cpu_fraction.items()},
        "cores": inputs.cores,
        "overflow_requests": inputs.overflow,
        "resent_requests": inputs.resent,
        "workers_lost": inputs.workers_lost,
        "clock_error_ms": inputs.clock_error_s * 1000,
    }


def _figures(seconds: Floats) -> dict[str, Any]:
    if not len(seconds):
        return {"mean": None, "p50": None, "p99": None, "max": None}
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"mean": float(seconds.mean() * 1000), "p50": float(p50), "p99": float(p99), "max": float(seconds.max() * 1000)}
