"""From `RunConfig` to what workers are told."""

from __future__ import annotations

import os
from typing import Any

from llmbench_locust.users.wire import WireConfig


def api_key_for(backend: str) -> str:
    """The secret of the environment that the backend's servers ask for; "" when it is not set."""
    return os.environ.get(key_variable(backend), "")


def key_variable(backend: str) -> str:
    """The environment variable that holds the backend's key."""
    return "ANTHROPIC_API_KEY" if backend == "anthropic" else "OPENAI_API_KEY"


def wire_config(config: Any, api_key: str, *, turns: bool = False) -> WireConfig:
    """``config``: a `RunConfig` whose model is known. ``turns``: whether requests follow on the
    answers of others.
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
