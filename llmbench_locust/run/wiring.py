"""From `RunConfig` to what workers are told."""

from __future__ import annotations

import os

from llmbench_locust.backends import backend_info
from llmbench_locust.options.config import RunConfig
from llmbench_locust.users.wire import WireConfig


def api_key_for(backend: str) -> str:
    """The key in the environment variable that the backend's row names; "" when it is not set."""
    return os.environ.get(key_variable(backend), "")


def key_variable(backend: str) -> str:
    """The environment variable that holds the backend's key."""
    return backend_info(backend).api_key


def wire_config(config: RunConfig, api_key: str, *, turns: bool = False) -> WireConfig:
    """``config``: one whose model is known. ``turns``: whether requests build on the answers to
    others.
    """
    return WireConfig(
        backend=config.backend,
        base_url=config.base_url,
        endpoint=config.endpoint,
        model=config.served_model_name or config.model or "",
        sampling=dict(config.sampling),
        ignore_eos=config.ignore_eos,
        logprobs=config.logprobs,
        extra_body=dict(config.extra_body),
        headers=dict(config.header),
        api_key=api_key,
        request_timeout_s=config.request_timeout_s,
        insecure=config.insecure,
        kernel_timestamps=config.kernel_timestamps,
        keep_text=bool(config.save_detailed or turns),
    )
