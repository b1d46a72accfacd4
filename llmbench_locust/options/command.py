"""The command that repeats a run: the flags whose values differ from their defaults."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import JsonValue
from llmbench_locust.options.config import RunConfig, build_config
from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import CAPACITY_GROUP, FLAGS, GROUPS, SAMPLING
from llmbench_locust.options.values import read
from llmbench_locust.redact import without_secrets, without_user

#: Generated for each run, derived from other flags, about several runs, or secret.
_LEFT_OUT = {"request_id_prefix", "header", "port", "endpoint", "base_url", "repeat", "same_seed"}
#: Their names in `llmbench serve`.
NAMES = {"llm-html": "html", "vllm-profile": "profile"}
#: Flags that the defaults of other flags depend on.
_BASIS = (
    *("backend", "dataset_name", "dataset_path", "mix", "compat", "sim", "duration"),
    *("input_len", "output_len", "request_rate", "max_concurrency"),
)
_SEARCH = {row.field for row in GROUPS[CAPACITY_GROUP] if row.field != "resume"}


def command_of(config: RunConfig) -> str:
    """``llmbench serve …`` with every flag that was set, without header values and passwords in
    URLs. For a probe or one of several runs, the command repeats that run alone.
    """
    words = ["llmbench", "serve"]
    if not config.sim:
        words += [w for url in config.base_urls for w in ("--base-url", without_user(url))]
    plain = _plain(config)
    if config.endpoint != config.backend_info.endpoint:
        words += ["--endpoint", config.endpoint]
    left_out = _LEFT_OUT | _SEARCH | ({"resume"} if config.capacity else set())
    for row in FLAGS.values():
        if row.field in left_out or row.dest in SAMPLING:
            continue
        value = getattr(config, row.field)
        own = plain is None or row.dest in _BASIS
        if value not in (read(row, None) if own else getattr(plain, row.field), None):
            words += _words(row, _shown(row.field, value))
    for name, value in config.sampling.items():
        if plain is None or plain.sampling.get(name) != value:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words + _locust_flags(config, plain))


def _locust_flags(config: RunConfig, plain: RunConfig | None) -> list[str]:
    """Locust's own flags that affect the run."""
    words = []
    if config.users is not None:
        words += ["--users", str(config.users)]
    if config.run_time_s not in (None, plain and plain.run_time_s):
        words += ["--run-time", f"{_exact(config.run_time_s)}s"]
    if config.stop_timeout_s:
        words += ["--stop-timeout", _exact(config.stop_timeout_s)]
    return words


def _plain(config: RunConfig) -> RunConfig | None:
    """The configuration from the flags of `_BASIS` alone; None if these are not valid alone."""
    values = {name: getattr(config, FLAGS[name].field) for name in _BASIS}
    given = {k: v if isinstance(v, bool | str) else f"{v}" for k, v in values.items() if v}
    try:
        return build_config(SimpleNamespace(host=None, **given))
    except ConfigError:
        return None


def _shown(field: str, value: JsonValue) -> JsonValue:
    """The value as typed on the command line, without secrets."""
    if field in ("server_metrics", "gpu_metrics"):
        return tuple(without_user(url).partition("?")[0] for url in value)
    if field == "dataset_path" and "://" in value:
        return without_user(value)
    if field == "think_time":
        return ":".join(map(_exact, value))
    if field == "random_range_ratio":
        return dict(zip(("input", "output"), value, strict=True))
    if field == "goodput":
        return tuple(f"{key}:{_exact(ms)}" for key, ms in value.items())
    if field == "metadata":
        return tuple(f"{key}={text}" for key, text in value.items())
    return without_secrets(value)


def _words(row: Flag, value: JsonValue) -> list[str]:
    name = NAMES.get(row.name, row.name)
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(value)]
    if not isinstance(value, tuple):
        return [f"--{name}", _exact(value)]
    if row.repeats:
        return [word for one in value for word in (f"--{name}", one)]
    if row.kind in ("words", "pairs"):
        return [f"--{name}", *value]
    return [f"--{name}", ",".join(map(_exact, value))]


def _exact(value: object) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
