"""`--repeat N`: the same run N times, and the variation of its figures between runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llmbench_locust.experiments.single import FAILED, status
from llmbench_locust.options.config import RunConfig
from llmbench_locust.results.files import write_whole
from llmbench_locust.run.lifecycle import Runs
from llmbench_locust.statistics.blocks import runs_interval
from llmbench_locust.terminal import say, warn

_LATENCY, _RATES = ("mean_", "median_", "p"), ("_throughput", "_goodput")


def nth(config: RunConfig, number: int) -> RunConfig:
    """The configuration of run ``number``: its seed, and its number in the file names."""

    def named(path: str | None) -> str | None:
        return numbered(path, number) if path else None

    return replace(
        config,
        seed=config.seed if config.same_seed else (config.seed + number) % 2**32,
        result_filename=named(config.result_filename or "result.json"),
        per_request=named(config.per_request),
        llm_html=named(config.llm_html),
    )


def numbered(path: str, number: int) -> str:
    """result.json → result.0.json."""
    found = Path(path)
    return str(found.with_name(f"{found.stem}.{number}{found.suffix}"))


def repeat(runs: Runs) -> None:
    """The runs with their tables and files, then the summary."""
    config, documents, ends = runs.config, [], []
    for number in range(config.repeat):
        say(f"Run {number + 1} of {config.repeat}")
        report = runs.run(nth(config, number))
        ends.append(status(runs, report, report.publish()))
        if report.extended["interrupted"]:
            break  # it has its own table and file; an incomplete run does not count for the summary
        documents.append(report.document)
    runs.exit_status = next((end for end in ends if end), None)
    if not documents:
        return
    found = summary(documents)
    say(table(found))
    if config.save_result:
        name = Path(config.result_filename or "result.json").stem + ".summary.json"
        data = {"runs": len(documents), "figures": found}
        path = Path(config.result_dir or "") / name
        try:
            write_whole(path, json.dumps(data, indent=1).encode())
        except OSError as e:
            warn(f"error: {path} could not be written: {e.strerror}")
            runs.exit_status = FAILED


def summary(documents: Sequence[dict[str, object]]) -> dict[str, dict[str, object]]:
    """For each latency and throughput: mean of the runs, its 95% interval (Student's t over the
    runs), coefficient of variation. None if unknown.
    """
    found: dict[str, dict[str, object]] = {}
    for key in documents[0] if documents else ():
        values = [document.get(key) for document in documents]
        numbers = [float(v) for v in values if isinstance(v, int | float)]
        latency = key.startswith(_LATENCY) and key.endswith("_ms")
        if not latency and not key.endswith(_RATES):
            continue
        if len(numbers) < len(documents) or not all(map(math.isfinite, numbers)):
            continue
        mean, several = float(np.mean(numbers)), len(numbers) > 1
        found[key] = {
            "mean": mean,
            "interval": runs_interval(numbers),
            "variation": float(np.std(numbers, ddof=1)) / mean if several and mean else None,
        }
    return found


def table(found: dict[str, dict[str, object]]) -> str:
    lines = [
        f"{' Over the runs ':=^78}",
        f"{'figure':<28}{'mean':>12}  {'95% interval':<24}{'CV':>8}",
    ]
    for key, row in found.items():
        interval, variation = row["interval"], row["variation"]
        ends = "unknown"
        if isinstance(interval, tuple):
            ends = f"{interval[0]:.2f} to {interval[1]:.2f}"
        spread = f"{variation:.1%}" if isinstance(variation, float) else "unknown"
        lines.append(f"{key:<28}{row['mean']:>12.2f}  {ends:<24}{spread:>8}")
    return "\n".join([*lines, "=" * 78])
