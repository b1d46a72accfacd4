"""The configuration of a run: one frozen object. Code below this reads no flags."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, replace

from llmbench_locust.backends import BackendInfo, backend_info
from llmbench_locust.datasets import DatasetInfo, dataset_info
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.json_values import json_value
from llmbench_locust.options import checks, combinations, dataset_checks, own_flags
from llmbench_locust.options.dataset_flags import DatasetFlags
from llmbench_locust.options.own_flags import Behaviour, Capacity, Cost
from llmbench_locust.options.secrets import Start, header_lines, origin_of, secret_dest
from llmbench_locust.options.table import FLAGS, SAMPLING, Benchmark, Own
from llmbench_locust.options.values import Default, integer, pairs, read, seconds
from llmbench_locust.redact import MASK, without_secrets, without_user


@dataclass(frozen=True)
class RunConfig(Benchmark, DatasetFlags, Own, Behaviour, Cost, Capacity):
    """One attribute per flag, with the flag's name and parsed value. Attributes that are more than
    the parsed text:

    ``base_url``: complete, from --base-url or --host and --port. ``endpoint``: the backend's own if
    not given. ``goodput``: objectives in ms by name. ``sampling``: parameters by API name,
    temperature 0.0 unless given. ``run_time_s``, ``stop_timeout_s``, ``request_timeout_s``,
    ``think_time`` (min, max): seconds. ``random_range_ratio``: (input, output).
    ``metric_percentiles``: in (0, 100]. ``header``: of --header and --header-file.

    ``users``: -u if it is not the concurrency limit. ``base_urls``: all servers; ``base_url`` is
    the first.

    ``startup_server``: whether the server is the one given at startup; only that one gets the API
    key from the environment. ``typed``: headers whose values came from the web form. ``budget``:
    (seconds, requests), None for no limit. ``arrival_seed``: seed of the arrivals if not ``seed``.
    """

    _: KW_ONLY
    backend_info: BackendInfo
    sampling: Json
    run_time_s: float | None
    stop_timeout_s: float
    startup_server: bool
    base_urls: tuple[str, ...]
    users: int | None = None
    typed: tuple[str, ...]
    arrival_seed: int | None = None

    @property
    def dataset(self) -> DatasetInfo:
        return dataset_info(self.dataset_name)

    @property
    def endless(self) -> bool:
        """Whether requests are sent as fast as the concurrency limit allows until time is up."""
        at_once = self.request_rate == math.inf and self.ramp_up_strategy is None
        return at_once and self.duration_s is not None

    @property
    def prefix_ratios(self) -> float:
        """The share of a synthetic message that it has in common with other messages."""
        return self.multi_turn_prefix_global_ratio + self.multi_turn_prefix_conversation_ratio

    def with_server(self, base_url: str) -> RunConfig:
        """The same run against another server alone."""
        return replace(self, base_url=base_url, base_urls=(base_url,))

    def redacted(self) -> Json:
        """For reports: without header values, passwords in URLs and values under secret keys."""
        shown = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("backend_info", "header", "startup_server", "typed")
        }
        shown["header"] = dict.fromkeys(self.header, MASK)
        shown["base_url"] = without_user(self.base_url)
        shown["base_urls"] = [without_user(url) for url in self.base_urls]
        for pages in ("server_metrics", "gpu_metrics"):
            urls = getattr(self, pages)
            shown[pages] = [without_user(url).partition("?")[0] for url in urls]
        shown["dataset_path"] = without_user(self.dataset_path) or None
        shown["extra_body"] = without_secrets(self.extra_body)
        return {key: json_value(value) for key, value in shown.items()}


#: The origin of a run against the simulator.
_SIM = "--sim"
#: The web form must not set these: they read any file, send secrets, run code or start programs.
_ONLY_AT_START = ("header_file", "distribute_secrets", "trust_remote_code", "sim_args")


#: Files whose text may be sent to the server or appear in a message.
_READ = ("dataset_path", "system_prompt", "mix", "resume", "structured_output", "expect_same_as")


def start_of(options: object) -> Start:
    """What the process was started with, from Locust's parsed options. Raises ConfigError."""
    v = _read(options)
    given = getattr(options, secret_dest("header"), None) or v["header"]
    words = (*given, *(header_lines(v["header_file"]) if v["header_file"] else ()))
    host = getattr(options, "host", None)
    return Start(
        _origin(v, host),
        words,
        {name: v[name] for name in _ONLY_AT_START},
        {name: v[name] or "" for name in ("result_dir", "per_request", "llm_html")},
        {name: str(v[name] or "") for name in _READ},
        v["base_url"] or (host if host and "@" in host else ""),
    )


def _origin(v: Json, host: str | None) -> str:
    if v["sim"]:
        return _SIM
    return " ".join(origin_of(url) for url in checks.base_urls(v["base_url"], host, v["port"]))


def _read(options: object) -> Json:
    return {row.field: read(row, getattr(options, row.dest, None)) for row in FLAGS.values()}


def build_config(options: object, start: Start | None = None) -> RunConfig:
    """The configuration of a run from Locust's parsed options (or the web form's values, which are
    texts).

    ``start``: what the process was started with; None when ``options`` are those of the start.
    Raises ConfigError: one line.
    """
    v = _read(options)
    start = start or start_of(options)
    start.check(v)
    if start.origin == _SIM and not v["sim"]:
        v["sim_args"] = ""  # the form turned the simulator off
    origin = _origin(v, getattr(options, "host", None))
    v["startup_server"] = origin == start.origin
    v["header"], v["typed"] = _headers(v, start, origin)
    info = _server(v, getattr(options, "host", None))
    v["goodput"] = checks.goodput(v["goodput"], info)
    v["percentile_metrics"] = checks.percentile_metrics(v["percentile_metrics"], info)
    v["self_timed"] = dataset_checks.self_timed(v["self_timed"], dataset_info(v["dataset_name"]))
    v["request_id_prefix"] = v["request_id_prefix"] or f"bench-{uuid.uuid4().hex[:8]}-"
    newer = v["compat"] == "0.33"
    v["sampling"] = checks.sampling(v, SAMPLING, info, greedy=not newer)
    if newer and not _given(options, "ready_check_timeout_sec"):
        v["ready_check_timeout_sec"] = 0.0
    v["run_time_s"] = seconds("--run-time", getattr(options, "run_time", None)) or None
    v["stop_timeout_s"] = seconds("--stop-timeout", getattr(options, "stop_timeout", None)) or 0.0
    apply_lengths(v)
    if v["max_concurrency"] is None:
        v["max_concurrency"] = v["multi_turn_concurrency"]
    if v["multi_turn_delay_ms"]:
        v["think_time"] = (v["multi_turn_delay_ms"] / 1000,) * 2
    if v["user_rate_s"] is not None:
        v["users"] = _users(getattr(options, "num_users", None))
    elif v["max_concurrency"] is None:
        v["max_concurrency"] = _users(getattr(options, "num_users", None))
    if v["mix"] is None and ignores_eos_by_default(v["dataset_name"], info):
        v["ignore_eos"] = True
    if v["duration_s"] is not None:
        v["num_prompts"] = checks.count_for(v)
        if v["request_rate"] == math.inf and v["ramp_up_strategy"] is None:
            v["run_time_s"] = v["duration_s"]
    elif v["num_prompts"] == checks.ENDLESS:
        raise ConfigError("--num-prompts: inf needs an end; use it with --duration")
    _cache(v)
    _body(v, info)
    combinations.numbers(v)
    combinations.combinations(v, info)
    own_flags.check(v)
    return RunConfig(**{k: value for k, value in v.items() if k not in SAMPLING})


def _headers(v: Json, start: Start, origin: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The headers, and the names of those whose values were not given at startup."""
    words = start.reveal(v["header"], origin)
    if v["header_file"]:
        if origin != start.origin:
            raise ConfigError(
                f"--header-file: its headers are for {start.origin} and are not sent to {origin}; "
                "clear the file name to send none of them"
            )
        words += tuple(w for w in header_lines(v["header_file"]) if w not in words)
    found = pairs("--header", words, secret=True)
    checks.headers(found)
    known = pairs("--header", start.headers, secret=True)
    return found, tuple(key for key, value in found.items() if known.get(key) != value)


def _given(options: object, dest: str) -> bool:
    """Whether the user set a flag: the parser's own default does not count."""
    value = getattr(options, dest, None)
    return value is not None and not isinstance(value, Default)


def _server(v: Json, host: str | None) -> BackendInfo:
    """Complete the base URL and endpoint; returns the backend's row for that endpoint."""
    if v["sim"] and v["base_url"]:
        raise ConfigError("--base-url: cannot be used with --sim, which starts its own server")
    info = backend_info(v["backend"])
    v["base_urls"] = checks.base_urls(v["base_url"], host, v["port"])
    v["base_url"] = v["base_urls"][0]
    v["endpoint"] = checks.endpoint(v["endpoint"], info)
    path = v["endpoint"].partition("?")[0].rstrip("/")
    if info.chat_endings and path.endswith(info.chat_endings):
        info = replace(info, chat=True)
    v["backend_info"] = info
    return info


def _cache(v: Json) -> None:
    """Start each of several runs with a cold cache, unless one of the cache flags was given."""
    several = v["repeat"] > 1 or v["capacity"]
    alone = not several or v["reset_cache"] is not None or v["cache_bust"] is not None
    v["reset_cache"] = v["reset_cache"] or ("never" if alone else "auto")
    v["cache_bust"] = v["cache_bust"] or ("none" if alone else "auto")


def _body(v: Json, info: BackendInfo) -> None:
    """Add what other flags imply to --extra-body."""
    if v["chat_template_kwargs"] and info.applies_template:
        v["extra_body"] = {"chat_template_kwargs": v["chat_template_kwargs"], **v["extra_body"]}
    if v["use_beam_search"]:
        v["extra_body"] = {"use_beam_search": True, **v["extra_body"]}


def ignores_eos_by_default(dataset_name: str, info: BackendInfo) -> bool:
    """Whether ``ignore_eos`` is on by default."""
    return info.ignore_eos and dataset_info(dataset_name).full_length


def _users(given: object) -> int | None:
    if given in (None, ""):
        return None
    users = integer("--users", str(given))
    if users < 1:
        raise ConfigError(f"--users: {users} is too small; use 1 or more")
    return users


def apply_lengths(v: Json, given: Collection[str] = ()) -> None:
    """--input-len and --output-len set the fields of the dataset in use, as in vLLM.

    ``given``: flags that a part of a mix sets; they take precedence over the command line.
    """
    dataset = dataset_info(v["dataset_name"])
    for general, own in (("input_len", dataset.input_flag), ("output_len", dataset.output_flag)):
        if v[general] is not None and own and (own not in given or general in given):
            v[own] = v[general]
    if v["common_prefix_len"] is not None and not v["random_prefix_len"]:
        v["random_prefix_len"] = v["common_prefix_len"]


#: Flags that a part may have, by the fields that they fill.
PART_FLAGS = {row.field: row for row in FLAGS.values() if row.part}


def part_config(config: RunConfig, flags: Json, num_prompts: int) -> RunConfig:
    """``config`` with a part's ``flags`` (by name; values as in JSON). Raises ConfigError."""
    given = {key.removeprefix("--").replace("-", "_"): value for key, value in flags.items()}
    for dest in given:
        if dest not in PART_FLAGS:
            raise ConfigError(f"{dest.replace('_', '-')!r} is not a flag of a dataset")
    v: Json = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    v |= {field: read(PART_FLAGS[field], _text(value)) for field, value in given.items()}
    v |= {"mix": None, "num_prompts": num_prompts, "think_time": (0.0, 0.0), "num_sessions": None}
    name = v["dataset_name"]
    dataset = dataset_info(name)
    v["self_timed"] = dataset_checks.self_timed(
        v["self_timed"] if "self_timed" in given else None, dataset
    )
    if "multi_turn" not in given:
        v["multi_turn"] = config.multi_turn and dataset.conversations
    if not v["self_timed"]:
        v["trace_speedup"] = 1.0
    apply_lengths(v, given)
    v["ignore_eos"] = config.ignore_eos or ignores_eos_by_default(name, config.backend_info)
    combinations.numbers(v)
    combinations.combinations(v, config.backend_info)
    return RunConfig(**v)


def from_redacted(shown: Json) -> RunConfig:
    """The configuration from `RunConfig.redacted`, without its secrets, for reports on a finished
    run. Raises KeyError or TypeError for anything else.
    """
    v = {name: _tuples(value) for name, value in shown.items()}
    endless = ("request_rate", "burstiness", "asr_max_audio_len_sec")  # inf is a text in JSON
    v |= {name: float(v[name]) for name in endless}
    v |= {"dataset_path": v["dataset_path"] or "", "save_detailed": True}
    return RunConfig(
        **v, backend_info=backend_info(shown["backend"]), startup_server=False, typed=()
    )


def _tuples(value: JsonValue) -> JsonValue:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _text(value: object) -> JsonValue:
    """A number or boolean as the command line would give it."""
    return str(value) if isinstance(value, bool | int | float) else value
