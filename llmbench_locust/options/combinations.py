"""Checks of number ranges and of combinations of flags. Each failure is one line."""

from __future__ import annotations

import math
import os
import stat
from urllib.parse import urlsplit

from llmbench_locust.backends import BackendInfo
from llmbench_locust.datasets import DATASETS, DatasetInfo, dataset_info
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.table import FLAGS

BOUNDED = tuple(flag for flag in FLAGS.values() if flag.bounded)
_PATHS = {
    "file": "a file that can be read",
    "optional": "a file that can be read",
    "directory": "a directory",
    "any": "a file or a directory",
    "hub": "a file, a directory or the dataset's name on the hub",
}


def numbers(v: Json) -> None:
    """Check the range of each number. ``v``: values by the fields of `RunConfig`."""
    for flag in BOUNDED:
        flag.check(v.get(flag.field))
    if v["custom_output_len"] == 0:
        raise ConfigError(
            "--custom-output-len: 0 is not allowed; use 1 or more, or -1 for each line's "
            "output_tokens"
        )
    if v["min"] is None:
        v["min"] = 1.0 if v["search"] == "max-concurrency" else 0.5
    for name in ("min", "max"):
        if v["search"] == "max-concurrency" and v[name] != int(v[name]):
            raise ConfigError(f"--{name}: {v[name]:g} users; use a whole number")
    if not v["min"] < v["max"]:
        raise ConfigError(f"--min: {v['min']:g} is not below --max, which is {v['max']:g}")
    for least, most in (
        ("blazedit-min-distance", "blazedit-max-distance"),
        ("asr-min-audio-len-sec", "asr-max-audio-len-sec"),
    ):
        low, high = (v[name.replace("-", "_")] for name in (least, most))
        if low > high:
            raise ConfigError(f"--{most}: {high:g} is below --{least}, which is {low:g}")


def combinations(v: Json, info: BackendInfo) -> None:
    """Check combinations of flags. ``v``: values by the fields of `RunConfig`."""
    dataset = dataset_info(v["dataset_name"])
    if v["num_prompts"] < 1 and (v["num_prompts"] != -1 or v["mix"] or not dataset.all_rows):
        raise ConfigError(f"--num-prompts: {v['num_prompts']} is too small; use 1 or more")
    _ramp(v)
    if v["mix"] is None:  # the parts of a mix are checked one by one as they are loaded
        _path(dataset, v["dataset_path"])
        _dataset(dataset, info)
        _turns(v, dataset, info)
    elif v["num_sessions"] is not None:
        raise ConfigError("--num-sessions: cannot be used with --mix; use --num-prompts")
    elif not os.path.isfile(v["mix"]) or not os.access(v["mix"], os.R_OK):
        raise ConfigError(f"--mix: cannot read {v['mix']!r}; it must be a JSON file")
    _times(v)
    if v["ignore_eos"] and not info.ignore_eos:
        raise ConfigError(f"--ignore-eos: --backend {info.name} does not support it")
    if v["logprobs"] is not None and not info.logprobs:
        raise ConfigError(f"--logprobs: --backend {info.name} does not support it")
    if v["use_beam_search"] and not info.ignore_eos:
        raise ConfigError(f"--use-beam-search: --backend {info.name} does not support it")
    if v["lora_modules"] and not info.lora:
        raise ConfigError(f"--lora-modules: --backend {info.name} has no LoRA modules")
    if v["cache_bust"] in ("run", "conversation"):
        if v["skip_tokenizer_init"]:
            raise ConfigError("--cache-bust: needs a tokenizer; not with --skip-tokenizer-init")
        if info.only == "audio":
            raise ConfigError(f"--cache-bust: --backend {info.name} sends no prompt")
    _server(v)
    _search(v)
    _outputs(v)


def _server(v: Json) -> None:
    if v["balance"] != "round-robin" and len(v["base_urls"]) == 1:
        raise ConfigError("--balance: needs more than one --base-url")
    if v["sim_args"] and not v["sim"]:
        raise ConfigError("--sim-args: only with --sim")
    if v["base_url"].endswith("/v1") and v["endpoint"].startswith("/v1/"):
        raise ConfigError(
            f"--base-url: /v1 is also in --endpoint {v['endpoint']}; leave it out of one of them"
        )
    if "authorization" in map(str.lower, v["header"]) and any(
        urlsplit(url).username for url in v["base_urls"]
    ):
        raise ConfigError(
            "--header: Authorization is what the user and password in the server's URL become; "
            "give one of them"
        )


def _search(v: Json) -> None:
    if v["capacity"]:
        return
    if v["slo"]:
        raise ConfigError("--slo: only with --capacity; use --check for a single run")
    if v["resume"] and not os.path.isfile(v["resume"]):
        raise ConfigError(
            f"--resume: {v['resume']!r} is not a file; use the journal of a run, or with "
            "--capacity the directory of a search"
        )


def _ramp(v: Json) -> None:
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
            "--ramp-up-strategy: cannot be used with --request-rate; use "
            "--ramp-up-start-rps and --ramp-up-end-rps alone"
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
        raise ConfigError("--ramp-up-end-rps: 0 is too small; use a number above 0")


def _path(dataset: DatasetInfo, path: str | None) -> None:
    """Check that the dataset's file exists, without reading it."""
    if not path:
        if dataset.path not in ("none", "optional"):
            raise ConfigError(
                f"--dataset-path: --dataset-name {dataset.name} needs one; "
                f"use {_PATHS[dataset.path]}"
            )
        return
    if dataset.path == "none":
        raise ConfigError(
            f"--dataset-path: --dataset-name {dataset.name} makes its prompts itself and reads no "
            f"file; name the dataset of {path!r}"
        )
    if dataset.path == "hub" and not path.startswith(("/", "./", "../")):
        return
    if not os.path.exists(path):
        raise ConfigError(f"--dataset-path: file not found: {path!r}")
    if dataset.path == "hub":
        return
    misplaced = dataset.path != "any" and os.path.isdir(path) is not (dataset.path == "directory")
    device = stat.S_ISCHR(os.stat(path).st_mode)  # /dev/zero has no end
    if misplaced or device or not os.access(path, os.R_OK):
        raise ConfigError(f"--dataset-path: cannot read {path!r}; use {_PATHS[dataset.path]}")


def _dataset(dataset: DatasetInfo, info: BackendInfo) -> None:
    """Check that the backend supports the content of the dataset."""
    name, holds, only = dataset.name, dataset.modality, info.only
    if holds not in ("", "any") and holds not in info.modalities:
        raise ConfigError(
            f"--dataset-name: {name} holds {holds}s, which --backend {info.name} does not support"
        )
    if only == "audio" and holds not in ("audio", "any"):
        raise ConfigError(
            f"--dataset-name: {name} holds no audio, but --backend {info.name} takes only audio"
        )
    if only == "documents" and not dataset.documents:
        able = ", ".join(row.name for row in DATASETS.values() if row.documents)
        raise ConfigError(
            f"--dataset-name: {name} has no documents to rank; --backend {info.name} takes {able}"
        )
    if dataset.documents and info.kind != "pooling":
        raise ConfigError(
            f"--dataset-name: {name} is for pooling backends; --backend {info.name} is not one"
        )


def _times(v: Json) -> None:
    """Check that only one of trace times, rate and capacity search sets the arrival times."""
    if not v["self_timed"]:
        if v["trace_speedup"] != 1 and v["mix"] is None:
            raise ConfigError(
                "--trace-speedup: only with --self-timed and a dataset that has times of its own"
            )
        return
    for name, given in (
        ("capacity", v["capacity"]),
        ("request-rate", v["request_rate"] != math.inf),
        ("ramp-up-strategy", v["ramp_up_strategy"] is not None),
    ):
        if given:
            raise ConfigError(
                f"--{name}: cannot be used with the times of the trace; to ignore the times use "
                '--no-self-timed, or "self-timed": false in an entry of --mix'
            )


_CHAT_FLAGS = (
    *("multi-turn-num-turns", "multi-turn-min-turns", "multi-turn-max-turns"),
    *("multi-turn-concurrency", "multi-turn-delay-ms", "per-turn-input-len"),
    *("multi-turn-prefix-global-ratio", "multi-turn-prefix-conversation-ratio"),
)


def _sessions(v: Json, dataset: DatasetInfo) -> None:
    """Check the flags of datasets whose requests wait for earlier responses."""
    for name in (
        *("history", "num_sessions", "max_delay_s", "concurrent_sessions", "session_header"),
        *("session_echo", "user_rate_s"),
    ):
        flag = next(row.name for row in FLAGS.values() if row.field == name)
        if v[name] is not None and not (dataset.sessions or v["multi_turn"]):
            able = ", ".join(row.name for row in DATASETS.values() if row.sessions)
            raise ConfigError(f"--{flag}: only with --multi-turn or one of the datasets {able}")
    if v["user_rate_s"] is not None:
        _users(v)
    if v["concurrent_sessions"] is None:
        return
    if v["max_concurrency"] is not None:
        raise ConfigError(
            "--concurrent-sessions: cannot be used with --max-concurrency (-u); use one of them"
        )
    if v["request_rate"] != math.inf or v["ramp_up_strategy"] is not None or v["self_timed"]:
        raise ConfigError(
            "--concurrent-sessions: sessions start when others end; it cannot be used with "
            "--request-rate, --ramp-up-strategy or --self-timed"
        )


def _users(v: Json) -> None:
    if v.get("users") is None:
        raise ConfigError("--user-rate: needs the number of users, --users N")
    for name, given in (
        ("--request-rate", v["request_rate"] != math.inf),
        ("--ramp-up-strategy", v["ramp_up_strategy"] is not None),
        ("--self-timed", bool(v["self_timed"])),
        ("--concurrent-sessions", v["concurrent_sessions"] is not None),
        ("--max-concurrency", v["max_concurrency"] is not None),
    ):
        if given:
            raise ConfigError(f"--user-rate: cannot be used with {name}; users set the pace")


def _turns(v: Json, dataset: DatasetInfo, info: BackendInfo) -> None:
    _sessions(v, dataset)
    if dataset.sessions:
        if info.kind != "generation":
            raise ConfigError(
                f"--dataset-name: {dataset.name} is for backends that generate text; --backend "
                f"{info.name} does not"
            )
        return
    if (v["random_cache_hit_fraction"] > 0) is not (v["random_cache_ratio"] > 0):
        raise ConfigError(
            "--random-cache-hit-fraction and --random-cache-ratio: both must be above 0, or neither"
        )
    if v["multi_turn_prefix_global_ratio"] + v["multi_turn_prefix_conversation_ratio"] >= 1:
        raise ConfigError(
            "--multi-turn-prefix-global-ratio and --multi-turn-prefix-conversation-ratio: their "
            "sum must be below 1"
        )
    if not v["multi_turn"]:
        for name in _CHAT_FLAGS:
            if v[name.replace("-", "_")] not in (None, FLAGS[name.replace("-", "_")].default):
                raise ConfigError(f"--{name}: only with --multi-turn")
        if v["think_time"][1] > 0:
            raise ConfigError("--think-time: only with --multi-turn")
        return
    if not dataset.conversations:
        able = ", ".join(row.name for row in DATASETS.values() if row.conversations)
        raise ConfigError(
            f"--multi-turn: --dataset-name {dataset.name} has no conversations; use {able}"
        )
    if info.kind != "generation":
        raise ConfigError(f"--multi-turn: --backend {info.name} generates no answers")


def _outputs(v: Json) -> None:
    """Check that the output files can be written, as far as this is known before the run."""
    directory = v["result_dir"]
    if directory and os.path.exists(directory):
        if not os.path.isdir(directory):
            raise ConfigError(f"--result-dir: {directory!r} is not a directory")
        if not os.access(directory, os.W_OK):
            raise ConfigError(f"--result-dir: {directory!r} cannot be written to")
    if v["per_request"] and not v["per_request"].endswith((".csv", ".parquet")):
        raise ConfigError(
            f"--per-request: {v['per_request']!r} is not a table; use a name that ends in .csv or "
            ".parquet"
        )
    for name in ("llm-html", "per-request"):
        path = v[name.replace("-", "_")]
        if path and os.path.isdir(path):
            raise ConfigError(f"--{name}: {path!r} is a directory; use the name of a file")
