"""Result files: their names, and writing them whole or not at all."""

from __future__ import annotations

import json
import math
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from llmbench_locust.results.document import for_file, whole

_PYTORCH_METRICS = tuple(f"{kind}_{name}_ms" for name in ("ttft", "tpot", "itl") for kind in ("median", "mean", "std", "p99"))
_PYTORCH_LEFT_OUT = ("ttfts", "itls", "generated_texts", "errors")


def result_path(config: Any, started_at: datetime) -> Path:
    """Where the result JSON goes, by vLLM's rule: label or backend, rate, concurrency, the model's last part, the time."""
    name: str = config.result_filename or ""
    if not name:
        label = config.label or config.backend
        cap = f"-concurrency{config.max_concurrency}" if config.max_concurrency is not None else ""
        model = (config.model or "model").rstrip("/").split("/")[-1]
        when = started_at.strftime("%Y%m%d-%H%M%S")
        if config.ramp_up_strategy is not None:
            start, end = whole(config.ramp_up_start_rps), whole(config.ramp_up_end_rps)
            name = f"{label}-ramp-up-{config.ramp_up_strategy}-{start}qps-{end}qps{cap}-{model}-{when}.json"
        else:
            name = f"{label}-{float(config.request_rate)}qps{cap}-{model}-{when}.json"
    return Path(config.result_dir or "") / name


def write_result(document: dict[str, Any], path: Path, *, detailed: bool, append: bool) -> None:
    """One JSON object; with ``append`` one more line of a file of lines. Never leaves half a file."""
    text = json.dumps(clean(for_file(document, detailed=detailed)), ensure_ascii=False)
    if append and path.exists() and path.stat().st_size:
        before = path.read_text(encoding="utf-8")
        text = before + ("" if before.endswith("\n") else "\n") + text
    write_whole(path, (text + ("\n" if append else "")).encode("utf-8"))
    if os.environ.get("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "0").lower() not in ("", "0", "false"):
        write_whole(path.with_suffix(".pytorch.json"), json.dumps(clean(pytorch_records(document))).encode())


def pytorch_records(document: dict[str, Any]) -> list[dict[str, Any]]:
    """PyTorch's benchmark format: a record for each metric."""
    extra = {k: v for k, v in document.items() if k not in _PYTORCH_METRICS and k not in _PYTORCH_LEFT_OUT}
    return [
        {
            "benchmark": {"name": "vLLM benchmark", "extra_info": {"args": {}, **extra}},
            "model": {"name": document.get("model_id")},
            "metric": {"name": name, "benchmark_values": [document[name]], "extra_info": extra},
        }
        for name in _PYTORCH_METRICS
        if name in document
    ]


def write_whole(path: Path, data: bytes) -> None:
    """By a temporary name in the same directory, which is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def clean(value: Any) -> Any:
    """What strict JSON can hold: NaN becomes null, infinity the text "inf"."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value
