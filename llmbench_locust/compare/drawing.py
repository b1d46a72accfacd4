"""Data for the charts of a report from the arrays of a result file."""

from __future__ import annotations

import numpy as np

from llmbench_locust.compare.reading import Requests, Run, section
from llmbench_locust.metrics.latencies import Floats, Ints, Latencies
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.results.shown import Drawn, Shown
from llmbench_locust.server_metrics.reading import Reading


def shown_of(run: Run) -> Shown:
    drawn = None if run.requests is None else _drawn(run, run.requests)
    return Shown(run.name, run.document, drawn, run.tool, run.missing)


def _drawn(run: Run, found: Requests) -> Drawn:
    n = len(found.ok)
    ttft, tpot, e2el = (_of_each(found, name) for name in ("ttft", "tpot", "e2el"))
    start = np.full(n, np.nan) if found.start is None else found.start
    lens = np.zeros(n, np.int64) if found.output is None else found.output
    origin_s = float(np.nanmin(start)) if np.isfinite(start).any() else 0.0
    folded = run.block.get("exact") is False  # then no gaps means that they were not kept
    return Drawn(
        columns=_columns(run, found, start, ttft),
        latencies=Latencies(found.ok, ttft, e2el, tpot, _gaps(found), np.full(n, np.nan)),
        output_lens=lens,
        origin_s=origin_s,
        duration_s=float(run.document.get("duration") or 0),
        gone=found.ok & (lens > 1) & (_counts(found, "itl") == 0) & folded,
        objectives_ms=section(run.block, "objectives_ms"),
        server=_series(run, "server", origin_s),
        gpus=_series(run, "gpu", origin_s),
    )


def _series(run: Run, name: str, origin_s: float) -> dict[str, list[Reading]]:
    """The readings of each metrics page from --save-detailed, on the clock of the requests."""
    return {
        url: [Reading.of({**found, "time_s": found["time_s"] + origin_s}) for found in readings]
        for url, readings in section(section(run.block, name), "series").items()
    }


def _of_each(found: Requests, name: str) -> Floats:
    """A latency of each request, NaN if it has none."""
    values = np.full(len(found.ok), np.nan)
    if name in found.samples:
        values[_counts(found, name) > 0] = found.samples[name].values
    return values


def _counts(found: Requests, name: str) -> Ints:
    counts = found.samples[name].counts if name in found.samples else None
    return np.zeros(len(found.ok), np.int64) if counts is None else counts


def _gaps(found: Requests) -> Floats:
    return found.samples["itl"].values if "itl" in found.samples else np.empty(0)


def _columns(run: Run, found: Requests, start: Floats, ttft: Floats) -> RecordColumns:
    n, gaps = len(found.ok), _gaps(found)
    counts = _counts(found, "itl")
    ends = np.cumsum(counts)
    errors, waits = run.document.get("errors"), run.document.get("queue_times")
    records = []
    for i in range(n):
        record = RequestRecord(i, str(i), bool(found.ok[i]), start_time=float(start[i]))
        if found.end is not None:
            record.end_time = float(found.end[i])
        if found.input is not None:
            record.prompt_len = int(found.input[i])
        if isinstance(errors, list):
            record.error_kind = str(errors[i]).strip()[:80]
        if isinstance(waits, list) and len(waits) == n:
            record.due_time = record.start_time - waits[i]
        if record.success and counts[i] and not np.isnan(start[i] + ttft[i]):
            passed = np.cumsum(gaps[ends[i] - counts[i] : ends[i]])
            record.token_times = start[i] + ttft[i] + np.concatenate([[0.0], passed])
        records.append(record)
    return RecordColumns.from_records(records)
