"""Names of result files, and atomic writing."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import json_value
from llmbench_locust.options.config import RunConfig

_PYTORCH_METRICS = tuple(
    f"{kind}_{name}_ms"
    for name in ("ttft", "tpot", "itl")
    for kind in ("median", "mean", "std", "p99")
)
_PLAIN = (str, int, float, list, dict, tuple, type(None))
_PYTORCH_LEFT_OUT = ("ttfts", "itls", "generated_texts", "errors")


def result_path(config: RunConfig, started_at: datetime) -> Path:
    """The result JSON's path by vLLM's rule: label or backend, rate, concurrency, model, time."""
    name: str = config.result_filename or ""
    if not name:
        label = config.label or config.backend
        cap = f"-concurrency{config.max_concurrency}" if config.max_concurrency is not None else ""
        model = _in_a_name((config.model or "model").rstrip("/").split("/")[-1])
        when = started_at.strftime("%Y%m%d-%H%M%S")
        if config.ramp_up_strategy is not None:
            start, end = whole(config.ramp_up_start_rps or 0), whole(config.ramp_up_end_rps or 0)
            ramp = f"ramp-up-{config.ramp_up_strategy}-{start}qps-{end}qps"
            name = f"{label}-{ramp}{cap}-{model}-{when}.json"
        else:
            name = f"{label}-{float(config.request_rate)}qps{cap}-{model}-{when}.json"
    return Path(config.result_dir or "") / name


def whole(value: float) -> float | int:
    """2 for 2.0, because vLLM's ramp rates are integers."""
    return int(value) if value == int(value) else value


def not_taken(path: Path) -> Path:
    """The path, with a number before its suffix if the file exists."""
    found, number = path, 0
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return found


def check_outputs(config: RunConfig) -> None:
    """Create the directories of all requested files and write a small file in each, to fail before
    the run. Raises ConfigError.
    """
    page = "--html, under locust -f --llm-html"
    wanted = [("--per-request", config.per_request), (page, config.llm_html)]
    directories = [(flag, Path(path).parent) for flag, path in wanted if path]
    if config.save_result or config.append_result:
        directories.append(("--result-dir", Path(config.result_dir or "")))
    for flag, directory in directories:
        check_directory(flag, directory)


def check_directory(flag: str, directory: Path) -> None:
    """Create the directory and write a small file in it. Raises ConfigError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".llmbench-probe.") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as e:
        where = "the current directory" if directory == Path() else directory
        raise ConfigError(f"{flag}: {where} cannot be written: {e.strerror}") from e


def _in_a_name(model: str) -> str:
    """A model name, which may come from a server, made safe for a file name."""
    return "".join(c if c.isprintable() and c != "\\" else "_" for c in model)[:100]


def write_result(
    document: Json, path: Path, *, append: bool, arguments: Json | None = None
) -> None:
    """Write one JSON object; with ``append``, add it as a line to the file. Never leaves a partial
    file.

    ``arguments``: the run's redacted flags for PyTorch's format, which is also written if
    ``SAVE_TO_PYTORCH_BENCHMARK_FORMAT`` is set.
    """
    text = json.dumps(json_value(document), ensure_ascii=False)
    # UTF-8 cannot encode a lone surrogate (from a broken response); Python's escape is valid JSON.
    data = text.encode("utf-8", "backslashreplace")
    if append and path.exists():
        # As in vLLM, the newline precedes the next line: both tools may append to one file.
        before = path.read_bytes().rstrip(b"\n")
        data = before + b"\n" + data if before else data
    write_whole(path, data)
    if os.environ.get("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "0").lower() not in ("", "0", "false"):
        records = pytorch_records(document, arguments or {})
        write_whole(path.with_suffix(".pytorch.json"), json.dumps(json_value(records)).encode())


def pytorch_records(document: Json, arguments: Json) -> list[Json]:
    """PyTorch's benchmark format: one record per metric. ``arguments``: the redacted flags."""
    extra = {
        k: v
        for k, v in document.items()
        if k not in _PYTORCH_METRICS and k not in _PYTORCH_LEFT_OUT
    }
    arguments = {k: v if isinstance(v, _PLAIN) else str(v) for k, v in arguments.items()}
    if not arguments.get("tensor_parallel_size") and "tensor_parallel_size" in extra:
        arguments["tensor_parallel_size"] = extra["tensor_parallel_size"]
    mode = extra.get("compilation_config.mode", "")
    about = {
        "args": arguments,
        "compilation_config.mode": mode,
        "optimization_level": extra.get("optimization_level", ""),
        "use_compile": not (mode == "0" or "eager" in (arguments.get("result_filename") or "")),
    }
    return [
        {
            "benchmark": {"name": "vLLM benchmark", "extra_info": about},
            "model": {"name": document.get("model_id")},
            "metric": {"name": name, "benchmark_values": [document[name]], "extra_info": extra},
        }
        for name in _PYTORCH_METRICS
        if name in document
    ]


def write_whole(path: Path, data: bytes) -> None:
    """Write via a temporary name in the same directory, which is created if missing."""
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
