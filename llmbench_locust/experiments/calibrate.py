"""`llmbench calibrate`: finds the largest load that this client measures without error."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import perf_counter

from llmbench_locust._version import __version__
from llmbench_locust.calibration.levels import TTFT_MS, Level, Measured, limit_of, next_level
from llmbench_locust.calibration.server import exact_server
from llmbench_locust.errors import Interrupted
from llmbench_locust.json_types import Json
from llmbench_locust.run.lifecycle import Runs
from llmbench_locust.terminal import say


def calibrate(
    runs: Runs, binary: Path | None, core: int | None, seconds: float, outcome: Path
) -> None:
    """Run level after level for about ``seconds``, with up to --num-prompts streams; writes the
    result to ``outcome``. ``binary``: the compiled server, None for the simulator; ``core``: the
    core that it runs on, None for any.
    """
    done: list[Measured] = []
    ends = perf_counter() + seconds
    streams = runs.config.num_prompts
    while (level := next_level(done, streams)) and (not done or perf_counter() < ends):
        measured = _run(runs, binary, core, level)
        if runs.stopping:
            raise Interrupted
        done.append(measured)
        say(line_of(measured))
    outcome.write_text(json.dumps(found_of(runs, done, binary)))
    runs.exit_status = 0


def _run(runs: Runs, binary: Path | None, core: int | None, level: Level) -> Measured:
    server = exact_server(binary, TTFT_MS, level.itl_ms, core)
    config = replace(
        runs.config.with_server(server.url),
        num_prompts=level.streams,
        random_output_len=level.tokens,
        # The compiled server reads a burst at once; in the simulator, requests would queue.
        request_rate=math.inf if binary else level.streams * 1000 / TTFT_MS,
    )
    try:
        report = runs.run(config, quiet=True)
    finally:
        late = server.stop()
    report.settle()
    summary = report.summary
    ttft, itl = summary.distributions["ttft"], summary.distributions["itl"]
    p99 = dict(itl.percentiles)[99.0]
    return Measured(level, summary.failed, ttft.mean, p99, late)


def line_of(m: Measured) -> str:
    verdict = "good" if m.holds else "the server was late" if m.server_late else "too much"
    return (
        f"{m.level.streams:>6,} streams × {m.level.rate:>5.4g}/s = {m.level.chunks_per_s:>8,.0f} "
        f"chunks/s: TTFT error {m.ttft_error_ms:z6.2f} ms, P99 ITL error {m.itl_error_ms:z6.2f} "
        f"ms, server late {m.late['late_mean_ms']:.2f} ms: {verdict}"
    )


def found_of(runs: Runs, done: list[Measured], binary: Path | None) -> Json:
    """The result to store and quote; ``limit_chunks_per_s`` is None if no level held."""
    limit, first = limit_of(done), done[0]
    failed = [m for m in done if not m.holds]
    lowest = min(failed, key=lambda m: m.level.chunks_per_s, default=None)
    shown = first if first.holds or limit is None else limit
    workers = len(runs.report.extended["workers"]) if runs.report else 1
    return {
        "version": __version__,
        "date": datetime.now().isoformat(timespec="seconds"),
        "processes": workers,
        "server": "compiled" if binary else "simulator",
        "streams": shown.level.streams,
        "rate": shown.level.rate,
        "ttft_error_ms": shown.ttft_error_ms,
        "p99_itl_error_ms": shown.itl_error_ms,
        "limit_chunks_per_s": limit.level.chunks_per_s if limit else None,
        "limit_was_found": lowest is not None,
        "server_was_late": lowest is not None and lowest.server_late,
        "levels": [
            {
                "streams": m.level.streams,
                "rate": m.level.rate,
                "failed": m.failed,
                "ttft_error_ms": m.ttft_error_ms,
                "p99_itl_error_ms": m.itl_error_ms,
                "server": m.late,
            }
            for m in done
        ],
    }
