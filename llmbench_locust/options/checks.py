"""The checks of single values and of their combinations. Each failure is one line: the flag, what is wrong, what is allowed."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any
from urllib.parse import urlsplit

from llmbench_locust.backends import BackendInfo
from llmbench_locust.errors import ConfigError
from llmbench_locust.options.values import number, pairs

METRICS = ("ttft", "tpot", "itl", "e2el")
OBJECTIVES = ("ttft", "tpot", "e2el")
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")  # RFC 9110, 5.6.2

NEEDS_PATH = ("sharegpt", "burstgpt", "custom", "custom_image", "custom_audio", "spec_bench", "timed_trace", "azure", "hf")
MEDIA_DATASETS = {"random-mm": "image", "custom_image": "image", "custom_audio": "audio"}


def base_url(given: str | None, host: str | None, port: int, *, sim: bool) -> tuple[str, int]:
    """(scheme://host:port, port) of --base-url, else of --host (bare or a URL) and --port."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port: {port} is no port; 1 to 65535")
    name, text = ("--base-url", given) if given else ("--host", host)
    if not text:
        return f"http://127.0.0.1:{port}", port
    if "://" not in text:
        if given:
            raise ConfigError(f"--base-url: {text!r} has no scheme; write it as http://host:port or https://host")
        bare = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
        has_port = ":" in bare.rpartition("]")[2]
        text = f"http://{bare}" if has_port else f"http://{bare}:{port}"
    url = urlsplit(text)
    try:
        bad = url.scheme not in ("http", "https") or not url.hostname or (url.port is not None and url.port == 0)
    except ValueError:
        bad = True
    if bad or url.query or url.fragment or any(c.isspace() for c in text):
        raise ConfigError(f"{name}: {text!r} is no server; write it as http://host:port or https://host")
    return text.rstrip("/"), port


def endpoint(given: str | None, info: BackendInfo) -> str:
    """The path, with the ending that the backend's protocol has."""
    if given is None:
        return info.endpoint
    path = "/" + given.lstrip("/")
    if any(c.isspace() for c in path):
        raise ConfigError(f"--endpoint: {given!r} holds white space")
    if not path.partition("?")[0].rstrip("/").endswith(info.endings):
        wanted = " or ".join(info.endings)
        raise ConfigError(f"--endpoint: {given!r} does not fit --backend {info.name}; its path ends with {wanted}")
    return path


def headers(found: dict[str, str]) -> None:
    for key, value in found.items():
        if not _TOKEN.match(key):
            raise ConfigError(f"--header: {key!r} is no name of a header; letters, digits and hyphens")
        if any(ord(c) < 32 or ord(c) == 127 for c in value) or not _latin(value):
            raise ConfigError(f"--header: the value of {key!r} holds characters that no header can")
        if key.lower() in ("content-length", "transfer-encoding", "host", "connection"):
            raise ConfigError(f"--header: {key!r} is set by the client itself")


def _latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def goodput(words: tuple[str, ...], info: BackendInfo) -> dict[str, float]:
    """Objectives in ms by name."""
    allowed = OBJECTIVES if info.kind == "generation" else ("e2el",)
    found: dict[str, float] = {}
    for key, text in pairs("--goodput", words, ":").items():
        if key not in allowed:
            raise ConfigError(f"--goodput: {key!r} is no objective here; one of {', '.join(allowed)}, as KEY:MILLISECONDS")
        value = number(f"--goodput {key}", text)
        if value < 0 or math.isinf(value):
            raise ConfigError(f"--goodput: {key} is {text}; milliseconds, 0 or more")
        found[key] = value
    return found


def percentiles(text: str) -> tuple[float, ...]:
    found: list[float] = []
    for word in str(text).split(","):
        if not word.strip():
            continue
        value = number("--metric-percentiles", word.strip())
        if not 0 < value <= 100:
            raise ConfigError(f"--metric-percentiles: {word.strip()} is outside 0 (excluded) to 100")
        if value not in found:
            found.append(value)
    if not found:
        raise ConfigError("--metric-percentiles: no percentile given; for instance 50,90,99")
    return tuple(found)


def percentile_metrics(text: str | None, info: BackendInfo) -> tuple[str, ...]:
    if text is None:
        return ("ttft", "tpot", "itl") if info.kind == "generation" else ("e2el",)
    found = tuple(dict.fromkeys(w.strip() for w in text.split(",") if w.strip()))
    for name in found:
        if name not in METRICS:
            raise ConfigError(f"--percentile-metrics: {name!r} is no metric; of {', '.join(METRICS)}, by commas")
    return found


def range_ratio(text: Any) -> tuple[float, float]:
    """(input, output) of a number or of an object with both."""
    shown = str(text).strip()
    if shown.startswith("{"):
        try:
            parsed = json.loads(shown)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict) or set(parsed) != {"input", "output"}:
            raise ConfigError(f'--random-range-ratio: {shown!r}; a number or {{"input": a, "output": b}}')
        values = tuple(number("--random-range-ratio", str(parsed[k])) for k in ("input", "output"))
    else:
        one = number("--random-range-ratio", shown)
        values = (one, one)
    for value in values:
        if not 0 <= value < 1:
            raise ConfigError(f"--random-range-ratio: {value:g} is outside [0, 1)")
    return values[0], values[1]


def think_time(text: str) -> tuple[float, float]:
    low, colon, high = str(text).partition(":")
    first = number("--think-time", low.strip())
    last = number("--think-time", high.strip()) if colon else first
    if not 0 <= first <= last < math.inf:
        raise ConfigError(f"--think-time: {text!r}; seconds, or MIN:MAX with 0 <= MIN <= MAX")
    return first, last


def thresholds(text: str) -> tuple[float, float]:
    words = [w for w in str(text).split(",") if w.strip()]
    values = [number("--timeline-itl-thresholds", w.strip()) for w in words]
    if len(values) != 2 or not 0 <= values[0] <= values[1]:
        raise ConfigError(f"--timeline-itl-thresholds: {text!r}; two numbers in ms by a comma, the lower one first")
    return values[0], values[1]


def self_timed(text: str | None, dataset: str) -> bool:
    if text is None:
        return dataset == "timed_trace"
    word = str(text).lower()
    if word not in ("true", "false"):
        raise ConfigError(f"--self-timed: {text!r} is neither true nor false")
    if word == "true" and dataset not in ("timed_trace", "burstgpt", "azure"):
        raise ConfigError(f"--self-timed: --dataset-name {dataset} has no times; timed_trace, burstgpt and azure do")
    return word == "true"


def sampling(v: dict[str, Any], info: BackendInfo) -> dict[str, Any]:
    """What was set, by API name; greedy unless a temperature is given. Refused where the protocol cannot carry it."""
    names = ("top_p", "top_k", "min_p", "temperature", "frequency_penalty", "presence_penalty", "repetition_penalty")
    found = {name: v[name] for name in names if v[name] is not None}
    for name in found:
        if name not in info.sampling:
            raise ConfigError(f"--{name.replace('_', '-')}: --backend {info.name} cannot carry it")
    if info.kind == "generation" and "temperature" in info.sampling:
        found.setdefault("temperature", 0.0)
    return found


_AT_LEAST = {
    "num_prompts": 1,
    "max_concurrency": 1,
    "num_warmups": 0,
    "logprobs": 0,
    "random_input_len": 0,
    "random_output_len": 0,
    "random_prefix_len": 0,
    "random_batch_size": 1,
    "sonnet_input_len": 1,
    "sonnet_output_len": 1,
    "sonnet_prefix_len": 0,
    "sharegpt_output_len": 1,
    "custom_output_len": -1,
    "spec_bench_output_len": 1,
    "hf_output_len": 1,
    "input_len": 0,
    "output_len": 0,
    "prefix_repetition_prefix_len": 0,
    "prefix_repetition_suffix_len": 0,
    "prefix_repetition_num_prefixes": 1,
    "prefix_repetition_output_len": 1,
    "random_mm_base_items_per_request": 0,
    "timed_trace_chunk_hash_size": 1,
    "max_exact_tokens": 0,
    "seed": 0,
    "ready_check_timeout_sec": 0,
    "probe_request_rate": 0,
    "ramp_up_start_rps": 0,
    "ramp_up_end_rps": 0,
    "blazedit_min_distance": 0,
    "asr_min_audio_len_sec": 0,
    "random_mm_num_mm_items_range_ratio": 0,
}
_ABOVE_ZERO = ("request_rate", "burstiness", "request_timeout_s", "trace_speedup", "timed_trace_sec_multiplier")
_FINITE = ("request_timeout_s", "trace_speedup", "probe_request_rate", "ramp_up_start_rps", "ramp_up_end_rps")


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")


def numbers(v: dict[str, Any]) -> None:
    """The range of each number."""
    for name, least in _AT_LEAST.items():
        if v[name] is not None and v[name] < least:
            raise ConfigError(f"{_flag(name)}: {v[name]:g} is too small; {least} or more")
    for name in _ABOVE_ZERO:
        if v[name] is not None and not v[name] > 0:
            raise ConfigError(f"{_flag(name)}: {v[name]:g}; more than 0")
    for name in _FINITE:
        if v[name] is not None and math.isinf(v[name]):
            raise ConfigError(f"{_flag(name)}: inf is not allowed; a finite number")
    if v["seed"] >= 2**32:
        raise ConfigError(f"--seed: {v['seed']} is too large; below {2**32}")
    if v["random_mm_num_mm_items_range_ratio"] > 1:
        raise ConfigError("--random-mm-num-mm-items-range-ratio: more than 1; a number in [0, 1]")
    if not v["blazedit_min_distance"] <= v["blazedit_max_distance"] <= 1:
        raise ConfigError("--blazedit-max-distance: between --blazedit-min-distance and 1")


def combinations(v: dict[str, Any], info: BackendInfo) -> None:
    """What goes with what."""
    _ramp(v)
    _dataset(v, info)
    if v["ignore_eos"] and not info.ignore_eos:
        raise ConfigError(f"--ignore-eos: --backend {info.name} cannot carry it")
    if v["logprobs"] is not None and not info.logprobs:
        raise ConfigError(f"--logprobs: --backend {info.name} cannot carry it")
    if v["lora_modules"] and info.name == "anthropic":
        raise ConfigError("--lora-modules: --backend anthropic has none")
    _results(v)


def _ramp(v: dict[str, Any]) -> None:
    start, end = v["ramp_up_start_rps"], v["ramp_up_end_rps"]
    if v["ramp_up_strategy"] is None:
        if start is not None or end is not None:
            raise ConfigError("--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy linear or exponential")
        return
    if v["request_rate"] != math.inf:
        raise ConfigError("--ramp-up-strategy: give no --request-rate with it; the ramp's start and end are the rates")
    if start is None or end is None:
        raise ConfigError("--ramp-up-strategy: --ramp-up-start-rps and --ramp-up-end-rps are both needed")
    if start > end:
        raise ConfigError(f"--ramp-up-start-rps: {start:g} is more than --ramp-up-end-rps {end:g}")
    if v["ramp_up_strategy"] == "exponential" and start == 0:
        raise ConfigError("--ramp-up-start-rps: an exponential ramp cannot start at 0")
    if end == 0:
        raise ConfigError("--ramp-up-end-rps: 0; more than 0")


def _dataset(v: dict[str, Any], info: BackendInfo) -> None:
    name, path = v["dataset_name"], v["dataset_path"]
    if v["mix"] is not None:
        if not os.path.isfile(v["mix"]):
            raise ConfigError(f"--mix: {v['mix']!r} is no file")
        return
    if name in NEEDS_PATH and not path:
        raise ConfigError(f"--dataset-path: --dataset-name {name} needs one")
    if path and name in NEEDS_PATH and name != "hf":
        if not os.path.exists(path):
            raise ConfigError(f"--dataset-path: there is no {path!r}")
        if os.path.isdir(path) or not os.access(path, os.R_OK):
            raise ConfigError(f"--dataset-path: {path!r} is no file that can be read")
    modality = MEDIA_DATASETS.get(name)
    if modality is not None and modality not in info.modalities:
        raise ConfigError(f"--dataset-name: {name} holds {modality}s, which --backend {info.name} cannot carry")
    if not info.plain_text and modality is None and name != "hf":
        raise ConfigError(f"--dataset-name: {name} holds no audio, which is all that --backend {info.name} takes")
    if name == "random-rerank" and info.kind != "pooling":
        raise ConfigError(f"--dataset-name: random-rerank is for pooling backends; --backend {info.name} is none")
    if v["random_batch_size"] > 1 and name in ("random", "random-mm") and info.kind != "pooling":
        raise ConfigError(f"--random-batch-size: more than 1 is for pooling backends; --backend {info.name} is none")
    if v["multi_turn"]:
        if name != "sharegpt":
            raise ConfigError(f"--multi-turn: --dataset-name {name} has no conversations; sharegpt has")
        if info.kind != "generation":
            raise ConfigError(f"--multi-turn: --backend {info.name} gives no answers")
    elif v["think_time"][1] > 0:
        raise ConfigError("--think-time: only with --multi-turn")


def _results(v: dict[str, Any]) -> None:
    if v["append_result"] and not v["save_result"]:
        v["save_result"] = True
    directory = v["result_dir"]
    if directory and os.path.exists(directory) and not os.path.isdir(directory):
        raise ConfigError(f"--result-dir: {directory!r} is no directory")
    if v["per_request"] and not v["per_request"].endswith((".csv", ".parquet")):
        raise ConfigError(f"--per-request: {v['per_request']!r}; a name that ends in .csv or .parquet")
    for name in ("llm_html", "per_request"):
        path = v[name]
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise ConfigError(f"{_flag(name)}: there is no directory {os.path.dirname(path)!r}")
