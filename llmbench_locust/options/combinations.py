"""The range of each number, and what goes with what. Each failure is one line: the flag, what is
wrong, what is allowed.
"""

from __future__ import annotations

import math
import os
from typing import Any

from llmbench_locust.backends import BackendInfo
from llmbench_locust.errors import ConfigError

_AT_LEAST = {
    "num_prompts": 1,
    "max_concurrency": 1,
    "num_warmups": 0,
    "logprobs": 0,
    "random_input_len": 0,
    "random_output_len": 1,
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
    "output_len": 1,
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
_ABOVE_ZERO = (
    "request_rate",
    "burstiness",
    "request_timeout_s",
    "trace_speedup",
    "timed_trace_sec_multiplier",
)
_FINITE = (
    "request_timeout_s",
    "trace_speedup",
    "timed_trace_sec_multiplier",
    "probe_request_rate",
    "ramp_up_start_rps",
    "ramp_up_end_rps",
    "asr_min_audio_len_sec",
)
NEEDS_PATH = (
    "sharegpt",
    "burstgpt",
    "custom",
    "custom_image",
    "custom_audio",
    "spec_bench",
    "timed_trace",
    "azure",
    "hf",
)
MADE_UP = ("random", "random-mm", "random-rerank", "prefix_repetition")
MEDIA_DATASETS = {"random-mm": "image", "custom_image": "image", "custom_audio": "audio"}


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def numbers(v: dict[str, Any]) -> None:
    """The range of each number. ``v``: values by attribute name."""
    for name, least in _AT_LEAST.items():
        if v[name] is not None and v[name] < least:
            raise ConfigError(f"{_flag(name)}: {_shown(v[name])} is too small; {least} or more")
    for name in _ABOVE_ZERO:
        if v[name] is not None and not v[name] > 0:
            raise ConfigError(f"{_flag(name)}: {_shown(v[name])} is too small; more than 0")
    for name in _FINITE:
        if v[name] is not None and math.isinf(v[name]):
            raise ConfigError(f"{_flag(name)}: inf is not allowed; a finite number")
    if v["seed"] >= 2**32:
        raise ConfigError(f"--seed: {v['seed']} is too large; below {2**32}")
    if v["custom_output_len"] == 0:
        raise ConfigError(
            "--custom-output-len: 0 is not allowed; 1 or more, or -1 for each line's output_tokens"
        )
    if v["random_mm_num_mm_items_range_ratio"] > 1:
        ratio = v["random_mm_num_mm_items_range_ratio"]
        raise ConfigError(
            f"--random-mm-num-mm-items-range-ratio: {ratio:g} is too large; a number in [0, 1]"
        )
    low, high = v["blazedit_min_distance"], v["blazedit_max_distance"]
    if not low <= high <= 1:
        raise ConfigError(
            f"--blazedit-max-distance: {high:g}; from --blazedit-min-distance, which is "
            f"{low:g}, to 1"
        )
    low, high = v["asr_min_audio_len_sec"], v["asr_max_audio_len_sec"]
    if low > high:
        raise ConfigError(
            f"--asr-max-audio-len-sec: {high:g} is below --asr-min-audio-len-sec, which is {low:g}"
        )


def combinations(v: dict[str, Any], info: BackendInfo) -> None:
    """What goes with what. ``v``: values by attribute name."""
    _ramp(v)
    _path(v)
    _dataset(v, info)
    _times(v)
    _turns(v, info)
    if v["ignore_eos"] and not info.ignore_eos:
        raise ConfigError(f"--ignore-eos: --backend {info.name} cannot carry it")
    if v["logprobs"] is not None and not info.logprobs:
        raise ConfigError(f"--logprobs: --backend {info.name} cannot carry it")
    if v["use_beam_search"] and not info.ignore_eos:
        raise ConfigError(f"--use-beam-search: --backend {info.name} cannot carry it")
    if v["lora_modules"] and not info.lora:
        raise ConfigError(f"--lora-modules: --backend {info.name} has none")
    _server(v)
    _outputs(v)


def _server(v: dict[str, Any]) -> None:
    if v["sim_args"] and not v["sim"]:
        raise ConfigError("--sim-args: only with --sim")
    if v["base_url"].endswith("/v1") and v["endpoint"].startswith("/v1/"):
        raise ConfigError(
            f"--base-url: its /v1 is in --endpoint {v['endpoint']} too; leave it out of one of them"
        )


def _ramp(v: dict[str, Any]) -> None:
    start, end = v["ramp_up_start_rps"], v["ramp_up_end_rps"]
    if v["ramp_up_strategy"] is None:
        if start is not None or end is not None:
            raise ConfigError(
                "--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy linear or "
                "exponential"
            )
        return
    if v["request_rate"] != math.inf:
        raise ConfigError(
            "--ramp-up-strategy: give no --request-rate with it; the ramp's start and end are "
            "the rates"
        )
    if start is None or end is None:
        raise ConfigError(
            "--ramp-up-strategy: --ramp-up-start-rps and --ramp-up-end-rps are both needed"
        )
    if start > end:
        raise ConfigError(f"--ramp-up-start-rps: {start:g} is more than --ramp-up-end-rps {end:g}")
    if v["ramp_up_strategy"] == "exponential" and start == 0:
        raise ConfigError("--ramp-up-start-rps: an exponential ramp cannot start at 0")
    if end == 0:
        raise ConfigError("--ramp-up-end-rps: 0; more than 0")


def _path(v: dict[str, Any]) -> None:
    """Whether the dataset's file is there, as far as can be seen without reading it."""
    name, path, mix = v["dataset_name"], v["dataset_path"], v["mix"]
    if mix is not None:
        if not os.path.isfile(mix) or not os.access(mix, os.R_OK):
            raise ConfigError(f"--mix: {mix!r} is no file that can be read; a JSON file")
        return
    if not path:
        if name in NEEDS_PATH:
            what = (
                "a file, a directory or the dataset's name on the hub"
                if name == "hf"
                else "the dataset's file"
            )
            raise ConfigError(f"--dataset-path: --dataset-name {name} needs one; {what}")
        return
    if name in MADE_UP:
        raise ConfigError(
            f"--dataset-path: --dataset-name {name} makes its prompts itself; name the dataset "
            "of the file"
        )
    if name == "hf":
        if path.startswith(("/", "./", "../")) and not os.path.exists(path):
            raise ConfigError(f"--dataset-path: there is no {path!r}")
        return
    if not os.path.exists(path):
        raise ConfigError(f"--dataset-path: there is no {path!r}")
    if os.path.isdir(path) or not os.access(path, os.R_OK):
        raise ConfigError(f"--dataset-path: {path!r} is no file that can be read")


def _dataset(v: dict[str, Any], info: BackendInfo) -> None:
    """Whether the backend can carry what the dataset holds. The parts of a mix are checked one by
    one as they are loaded.
    """
    name = v["dataset_name"]
    if v["mix"] is not None:
        return
    modality = MEDIA_DATASETS.get(name)
    if modality is not None and modality not in info.modalities:
        raise ConfigError(
            f"--dataset-name: {name} holds {modality}s, which --backend {info.name} cannot carry"
        )
    if not info.plain_text and modality is None and name != "hf":
        raise ConfigError(
            f"--dataset-name: {name} holds no audio, which is all that --backend {info.name} takes"
        )
    if name == "random-rerank" and info.kind != "pooling":
        raise ConfigError(
            f"--dataset-name: random-rerank is for pooling backends; --backend {info.name} is none"
        )
    if info.name == "vllm-rerank" and name != "random-rerank":
        raise ConfigError(
            f"--dataset-name: {name} has no documents to rank; --backend vllm-rerank takes "
            "random-rerank"
        )
    if v["random_batch_size"] > 1 and (
        name == "random-mm" or (name == "random" and info.kind != "pooling")
    ):
        raise ConfigError(
            f"--random-batch-size: more than 1 is for pooling backends and texts, not {name} "
            f"with {info.name}"
        )
    if name == "prefix_repetition" and v["prefix_repetition_num_prefixes"] > v["num_prompts"]:
        count = v["prefix_repetition_num_prefixes"]
        raise ConfigError(
            f"--prefix-repetition-num-prefixes: {count} is more than --num-prompts, which is "
            f"{v['num_prompts']}"
        )


def _times(v: dict[str, Any]) -> None:
    """A trace that brings its own times leaves nothing for a rate to say, and the other way round."""
    if not v["self_timed"]:
        if v["trace_speedup"] != 1 and v["mix"] is None:
            raise ConfigError("--trace-speedup: only with --self-timed and a trace that has times")
        return
    for name, given in (
        ("request_rate", v["request_rate"] != math.inf),
        ("ramp_up_strategy", v["ramp_up_strategy"] is not None),
    ):
        if given:
            raise ConfigError(
                f"{_flag(name)}: the trace's own times are the arrivals; --no-self-timed sets "
                "them aside"
            )


def _turns(v: dict[str, Any], info: BackendInfo) -> None:
    if v["mix"] is not None:
        return
    if not v["multi_turn"]:
        if v["think_time"][1] > 0:
            raise ConfigError("--think-time: only with --multi-turn")
        return
    if v["dataset_name"] != "sharegpt":
        raise ConfigError(
            f"--multi-turn: --dataset-name {v['dataset_name']} has no conversations; sharegpt has"
        )
    if info.kind != "generation":
        raise ConfigError(f"--multi-turn: --backend {info.name} gives no answers")


def _outputs(v: dict[str, Any]) -> None:
    """Whether what is to be written can be, as far as can be seen before the run."""
    directory = v["result_dir"]
    if directory and os.path.exists(directory):
        if not os.path.isdir(directory):
            raise ConfigError(f"--result-dir: {directory!r} is no directory")
        if not os.access(directory, os.W_OK):
            raise ConfigError(f"--result-dir: {directory!r} cannot be written to")
    if v["per_request"] and not v["per_request"].endswith((".csv", ".parquet")):
        raise ConfigError(
            f"--per-request: {v['per_request']!r}; a name that ends in .csv or .parquet"
        )
    for name in ("llm_html", "per_request"):
        path = v[name]
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise ConfigError(f"{_flag(name)}: there is no directory {os.path.dirname(path)!r}")
        if path and os.path.isdir(path):
            raise ConfigError(f"{_flag(name)}: {path!r} is a directory; the name of a file")
