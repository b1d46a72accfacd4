"""The command that repeats a run: the flags whose values differ from their defaults."""

from __future__ import annotations

import json
import shlex
from typing import Any

from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.table import FLAGS, SAMPLING
from llmbench_locust.options.values import read
from llmbench_locust.redact import without_secrets, without_user

#: Made anew for each run, derived from others, or secret.
_LEFT_OUT = {"request_id_prefix", "header", "port", "endpoint", "base_url", "ignore_eos"}


def command_of(config: RunConfig) -> str:
    """``llmbench serve …`` with every flag that was set; values of headers are left out."""
    words = ["llmbench", "serve"]
    if not config.sim:
        words += ["--base-url", without_user(config.base_url)]
    if config.endpoint != config.backend_info.endpoint:
        words += ["--endpoint", config.endpoint]
    for row in FLAGS.values():
        if row.field in _LEFT_OUT or row.dest in SAMPLING:
            continue
        value = getattr(config, row.field)
        if value not in (read(row, None), None):
            words += _words(row.name, value)
    for name, value in config.sampling.items():
        if not (name == "temperature" and value == 0):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:
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
