"""Makes the workers' `WireConfig` from `RunConfig`, and decides which secrets go with it."""

from __future__ import annotations

import os
from dataclasses import replace

from llmbench_locust.backends import backend_info
from llmbench_locust.errors import SetupError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.values import pairs
from llmbench_locust.redact import MASK, without_user
from llmbench_locust.users.wire import WireConfig


def api_key_for(config: RunConfig) -> str:
    """The key from the backend's environment variable. "" if it is not set, or if the run goes to
    another server than the one given at startup.
    """
    return os.environ.get(key_variable(config.backend), "") if config.startup_server else ""


def key_variable(backend: str) -> str:
    """The environment variable that holds the backend's key."""
    return backend_info(backend).api_key


def withheld(config: RunConfig) -> str | None:
    """The message that an existing API key is not sent to this server, else None."""
    name = key_variable(config.backend)
    if config.startup_server or name not in os.environ:
        return None
    return (
        f"{name} is not sent to {config.redacted()['base_url']}: it is for the server given at "
        "startup. Type a header such as Authorization into the form if this server needs a key."
    )


def wire_config(config: RunConfig, *, turns: bool = False) -> WireConfig:
    """``config``: with a known model. ``turns``: whether requests contain earlier responses."""
    return WireConfig(
        backend=config.backend,
        base_urls=list(config.base_urls),
        endpoint=config.endpoint,
        model=config.served_model_name or config.model or "",
        sampling=dict(config.sampling),
        ignore_eos=config.ignore_eos,
        logprobs=config.logprobs,
        extra_body=dict(config.extra_body),
        headers=dict(config.header),
        api_key=api_key_for(config),
        request_timeout_s=config.request_timeout_s,
        insecure=config.insecure,
        kernel_timestamps=config.kernel_timestamps,
        keep_text=bool(
            config.save_detailed or turns or config.check_answers or config.expect_same_as
        ),
        session_header=config.session_header or "",
        session_prefix=config.request_id_prefix,
        session_echo=config.session_echo or "",
        balance=config.balance,
        seed=config.seed,
        cancel_rate=config.cancel_rate,
        cancel_after_s=config.cancel_after_s,
        client_timeout_s=config.client_timeout_s,
        retries=config.retries,
    )


def for_workers(wire: WireConfig, config: RunConfig) -> WireConfig:
    """``wire`` for sending: each worker replaces the masked secrets by its own. Raises SetupError
    if the worker cannot have a secret.
    """
    if config.distribute_secrets:
        return wire
    if config.typed:
        raise SetupError(
            f"--header: the value of {config.typed[0]!r} was typed into the form; workers get such "
            "values only when the master was started with --distribute-secrets"
        )
    return replace(
        wire,
        api_key=MASK if wire.api_key else "",
        headers=dict.fromkeys(wire.headers, MASK),
        base_urls=[without_user(url) for url in wire.base_urls],
    )


def with_own_secrets(
    wire: WireConfig, words: tuple[str, ...], urls: tuple[str, ...] = ()
) -> WireConfig:
    """Undo `for_workers` on a worker. ``words``: its headers, KEY=VALUE; ``urls``: its servers.
    Raises SetupError for a secret that the worker does not have.
    """
    known = {without_user(url): url for url in urls}
    base_urls = [known.get(url, url) for url in wire.base_urls]
    own = {k.lower(): v for k, v in pairs("--header", words, secret=True).items()}
    headers = {k: own.get(k.lower(), v) if v == MASK else v for k, v in wire.headers.items()}
    missing = [k for k, v in headers.items() if v == MASK]
    variable = key_variable(wire.backend)
    key = os.environ.get(variable, "") if wire.api_key == MASK else wire.api_key
    if wire.api_key and not key:
        raise SetupError(f"{variable} is not set there; {_REMEDY}")
    if missing:
        raise SetupError(
            f"the header {missing[0]!r} has no value there; set LLMBENCH_HEADER or --header-file "
            f"for the worker, or {_REMEDY}"
        )
    if unknown := next((url for url in base_urls if f"//{MASK}@" in url), None):
        raise SetupError(
            f"the user and password of {unknown} are not known there; give the worker the same "
            f"--base-url, or {_REMEDY}"
        )
    return replace(wire, api_key=key, headers=headers, base_urls=base_urls)


_REMEDY = "start the master with --distribute-secrets to send secrets to the workers in clear"
