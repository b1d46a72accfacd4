"""The command that repeats a run: the flags whose values differ from their defaults."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import JsonValue
from llmbench_locust.options.config import RunConfig, build_config
from llmbench_locust.options.table import FLAGS, SAMPLING
from llmbench_locust.options.values import read
from llmbench_locust.redact import without_secrets, without_user

#: Made anew for each run, derived from others, or secret.
_LEFT_OUT = {"request_id_prefix", "header", "port", "endpoint", "base_url", "ignore_eos"}


def command_of(config: RunConfig) -> str:
    """``llmbench serve …`` with every flag that was set; values of headers are left out."""
    words = ["llmbench", "serve"]
    if not config.sim:
        words += [w for url in config.base_urls for w in ("--base-url", without_user(url))]
    plain = _plain(config)
    if config.endpoint != config.backend_info.endpoint:
        words += ["--endpoint", config.endpoint]
    for row in FLAGS.values():
        if row.field in _LEFT_OUT or row.dest in SAMPLING:
            continue
        value = getattr(config, row.field)
        derived = None if row.dest in _BASIS else getattr(plain, row.field, None)
        if value not in (read(row, None), derived, None):
            words += _words(NAMES.get(row.name, row.name), value)
    for name, value in config.sampling.items():
        if not (name == "temperature" and value == 0):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


#: As `llmbench serve` calls them.
NAMES = {"llm-html": "html", "vllm-profile": "profile"}

#: What other values are derived from.
_BASIS = (
    *("backend", "dataset_name", "dataset_path", "compat", "sim", "duration"),
    *("input_len", "output_len", "request_rate", "max_concurrency"),
)


def _plain(config: RunConfig) -> RunConfig | None:
    """A run with only the flags that others are derived from; None where these alone are
    no run.
    """
    values = {name: getattr(config, FLAGS[name].field) for name in _BASIS}
    given = {k: v if isinstance(v, bool | str) else f"{v}" for k, v in values.items() if v}
    try:
        return build_config(SimpleNamespace(host=None, **given))
    except ConfigError:
        return None


def _words(name: str, value: JsonValue) -> list[str]:
    if value is True:
        return [f"--{name}"]
    if value is False:
        return [f"--no-{name}"]
    if name == "goodput":
        return ["--goodput", *(f"{key}:{ms:g}" for key, ms in value.items())]
    if name == "metadata":
        return ["--metadata", *(f"{key}={text}" for key, text in value.items())]
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(without_secrets(value))]
    if isinstance(value, tuple):
        if name == "lora-modules":
            return [f"--{name}", *value]
        return [f"--{name}", ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)]
    return [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
