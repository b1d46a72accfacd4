"""Everything that was asked for, checked once, in one frozen object. Below this, nobody looks at a
flag again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from llmbench_locust.backends import BackendInfo, backend_info
from llmbench_locust.errors import ConfigError
from llmbench_locust.options import checks, combinations
from llmbench_locust.options.secrets import (
    MASK,
    secret_dest,
    unmasked,
    without_secrets,
    without_user,
)
from llmbench_locust.options.table import FLAGS, fresh_prefix
from llmbench_locust.options.values import integer, number, pairs, read

INF = float("inf")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One attribute for each flag, by its name, with its value. Those that differ from the plain
    text of their flag:

    ``base_url``: complete, of --base-url or --host and --port. ``endpoint``: the backend's own when
    not given. ``goodput``: objectives in ms by name. ``sampling``: parameters by API name,
    temperature 0.0 unless given. ``run_time_s``, ``stop_timeout_s``, ``request_timeout_s``,
    ``think_time`` (min, max): seconds. ``random_range_ratio``: (input, output).
    ``metric_percentiles``: in (0, 100].
    """

    backend_info: BackendInfo
    seed: int
    num_prompts: int
    dataset_name: str
    dataset_path: str | None
    no_stream: bool
    no_oversample: bool
    skip_chat_template: bool
    disable_shuffle: bool
    enable_multimodal_chat: bool
    label: str | None
    backend: str
    base_url: str
    port: int
    endpoint: str
    header: dict[str, str] = field(repr=False)
    max_concurrency: int | None
    model: str | None
    served_model_name: str | None
    tokenizer: str | None
    tokenizer_mode: str
    trust_remote_code: bool
    skip_tokenizer_init: bool
    use_beam_search: bool
    logprobs: int | None
    request_rate: float
    burstiness: float
    probe_request_rate: float
    disable_tqdm: bool
    num_warmups: int
    vllm_profile: bool
    save_result: bool
    save_detailed: bool
    append_result: bool
    metadata: dict[str, str]
    result_dir: str | None
    result_filename: str | None
    ignore_eos: bool
    percentile_metrics: tuple[str, ...]
    metric_percentiles: tuple[float, ...]
    goodput: dict[str, float]
    request_id_prefix: str
    lora_modules: tuple[str, ...]
    lora_assignment: str
    ramp_up_strategy: str | None
    ramp_up_start_rps: float | None
    ramp_up_end_rps: float | None
    ready_check_timeout_sec: float
    extra_body: dict[str, Any]
    chat_template_kwargs: dict[str, Any]
    input_len: int | None
    output_len: int | None
    insecure: bool
    plot_timeline: bool
    timeline_itl_thresholds: tuple[float, float]
    plot_dataset_stats: bool
    custom_output_len: int
    custom_ensure_client_side_data: bool
    spec_bench_output_len: int
    spec_bench_category: str | None
    sonnet_input_len: int
    sonnet_output_len: int
    sonnet_prefix_len: int
    sharegpt_output_len: int | None
    blazedit_min_distance: float
    blazedit_max_distance: float
    asr_min_audio_len_sec: float
    asr_max_audio_len_sec: float
    random_input_len: int
    random_output_len: int
    random_range_ratio: tuple[float, float]
    random_prefix_len: int
    random_batch_size: int
    common_prefix_len: int | None
    no_reranker: bool
    random_mm_base_items_per_request: int
    random_mm_num_mm_items_range_ratio: float
    random_mm_limit_mm_per_prompt: dict[str, Any]
    random_mm_bucket_config: dict[str, Any]
    hf_subset: str | None
    hf_split: str | None
    hf_name: str | None
    hf_output_len: int | None
    hf_prompt_column: str | None
    hf_output_column: str | None
    bfcl_categories: str | None
    prefix_repetition_prefix_len: int
    prefix_repetition_suffix_len: int
    prefix_repetition_num_prefixes: int
    prefix_repetition_output_len: int
    self_timed: bool
    trace_speedup: float
    timed_trace_chunk_hash_size: int
    timed_trace_sec_multiplier: float
    timed_trace_label_timestamp: str
    timed_trace_label_input_length: str
    timed_trace_label_output_length: str
    timed_trace_label_hash_ids: str
    multi_turn: bool
    think_time: tuple[float, float]
    mix: str | None
    sampling: dict[str, Any]
    sim: bool
    sim_args: str
    request_timeout_s: float | None
    llm_html: str | None
    per_request: str | None
    kernel_timestamps: bool | None
    max_exact_tokens: int
    progress_stats: bool
    run_time_s: float | None
    stop_timeout_s: float

    def with_server(self, base_url: str) -> RunConfig:
        """The same run against another server."""
        return replace(self, base_url=base_url)

    def redacted(self) -> dict[str, Any]:
        """For reports: what JSON can hold, without the values of headers, passwords in URLs, and
        keys that say secret.
        """
        shown = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("backend_info", "header")
        }
        shown["header"] = dict.fromkeys(self.header, MASK)
        shown["base_url"] = without_user(self.base_url)
        if self.dataset_path is not None:
            shown["dataset_path"] = without_user(self.dataset_path)
        shown = {
            k: (str(v) if isinstance(v, float) and not math.isfinite(v) else v)
            for k, v in shown.items()
        }
        shown["extra_body"] = without_secrets(self.extra_body)
        return shown


def build_config(options: Any) -> RunConfig:
    """The configuration of a run from Locust's parsed options (or the web form's values, which are
    texts).

    Raises ConfigError: one line.
    """
    given = {dest: getattr(options, dest, None) for dest in FLAGS}
    v: dict[str, Any] = {dest: read(flag, given[dest]) for dest, flag in FLAGS.items()}
    info = backend_info(v["backend"])
    if v["sim"] and v["base_url"]:
        raise ConfigError("--base-url: not with --sim, which starts a server of its own")
    v["base_url"] = checks.base_url(v["base_url"], getattr(options, "host", None), v["port"])
    v["endpoint"] = checks.endpoint(v["endpoint"], info)
    if v["endpoint"].partition("?")[0].rstrip("/").endswith("api/chat"):
        info = replace(info, chat=True)
    v["backend_info"] = info
    v["header"] = pairs(
        "--header",
        unmasked(v["header"], getattr(options, secret_dest("header"), None) or ()),
        secret=True,
    )
    checks.headers(v["header"])
    v["metadata"] = pairs("--metadata", v["metadata"])
    v["goodput"] = checks.goodput(v["goodput"], info)
    v["metric_percentiles"] = checks.percentiles(v["metric_percentiles"])
    v["percentile_metrics"] = checks.percentile_metrics(v["percentile_metrics"], info)
    v["random_range_ratio"] = checks.range_ratio(v["random_range_ratio"])
    v["think_time"] = checks.think_time(v["think_time"])
    v["timeline_itl_thresholds"] = checks.thresholds(v["timeline_itl_thresholds"])
    v["self_timed"] = checks.self_timed(v["self_timed"], v["dataset_name"])
    v["random_mm_limit_mm_per_prompt"] = checks.mm_limits(v["random_mm_limit_mm_per_prompt"])
    v["random_mm_bucket_config"] = checks.mm_buckets(v["random_mm_bucket_config"])
    v["extra_body"] = dict(v["extra_body"] or {})
    v["chat_template_kwargs"] = dict(v["chat_template_kwargs"] or {})
    v["request_id_prefix"] = v["request_id_prefix"] or fresh_prefix()
    v["sampling"] = checks.sampling(v, info)
    v["request_timeout_s"] = v.pop("request_timeout")
    v["sim_args"] = v["sim_args"] or ""
    v["run_time_s"] = _seconds("--run-time", getattr(options, "run_time", None)) or None
    v["stop_timeout_s"] = _seconds("--stop-timeout", getattr(options, "stop_timeout", None)) or 0.0
    apply_lengths(v)
    if v["max_concurrency"] is None:
        v["max_concurrency"] = _users(getattr(options, "num_users", None))
    if v["mix"] is None and goes_to_the_full_length(v["dataset_name"], info):
        v["ignore_eos"] = True
    for name in (
        "top_p",
        "top_k",
        "min_p",
        "temperature",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    ):
        del v[name]
    if v["chat_template_kwargs"] and v["endpoint"].partition("?")[0].rstrip("/").endswith(
        "chat/completions"
    ):
        # The server applies the template there; elsewhere the dataset does.
        v["extra_body"].setdefault("chat_template_kwargs", v["chat_template_kwargs"])
    if v["use_beam_search"]:
        v["extra_body"].setdefault("use_beam_search", True)
    combinations.numbers(v)
    combinations.combinations(v, info)
    return RunConfig(**v)


# Their prompts ask nothing that could be answered: as in vLLM, answers go on to the length that was
# asked for.
_TO_THE_FULL_LENGTH = ("random", "random-mm", "timed_trace")


def goes_to_the_full_length(dataset_name: str, info: BackendInfo) -> bool:
    """Whether ``ignore_eos`` is asked for without a flag."""
    return info.ignore_eos and dataset_name in _TO_THE_FULL_LENGTH


def _users(given: Any) -> int | None:
    """Locust's -u as a cap."""
    if given in (None, ""):
        return None
    users = integer("--users", str(given))
    if users < 1:
        raise ConfigError(f"--users: {users} is too small; 1 or more")
    return users


def _seconds(name: str, value: Any) -> float | None:
    if value in (None, ""):
        return None
    if isinstance(value, str):
        from locust.util.timespan import parse_timespan

        try:
            value = parse_timespan(value)
        except ValueError:
            value = number(name, value)
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{name}: {seconds:g}; seconds, 0 or more")
    return seconds


_INPUT_FLAGS = {
    "random": "random_input_len",
    "random-mm": "random_input_len",
    "random-rerank": "random_input_len",
    "sonnet": "sonnet_input_len",
}
_OUTPUT_FLAGS = {
    "random": "random_output_len",
    "random-mm": "random_output_len",
    "random-rerank": "random_output_len",
    "sonnet": "sonnet_output_len",
    "sharegpt": "sharegpt_output_len",
    "custom": "custom_output_len",
    "custom_image": "custom_output_len",
    "custom_audio": "custom_output_len",
    "hf": "hf_output_len",
    "spec_bench": "spec_bench_output_len",
    "prefix_repetition": "prefix_repetition_output_len",
}


def apply_lengths(v: dict[str, Any], given: Collection[str] = ()) -> None:
    """--input-len and --output-len go to the flag of the dataset in use, and win over it, as in
    vLLM.

    ``given``: flags of a part of a mix; what the part says comes before what the command line says.
    """
    for general, table in (("input_len", _INPUT_FLAGS), ("output_len", _OUTPUT_FLAGS)):
        own = table.get(v["dataset_name"])
        if v[general] is not None and own is not None and (own not in given or general in given):
            v[own] = v[general]
    if v["common_prefix_len"] is not None and not v["random_prefix_len"]:
        v["random_prefix_len"] = v["common_prefix_len"]


__all__ = ["ConfigError", "RunConfig", "build_config"]
