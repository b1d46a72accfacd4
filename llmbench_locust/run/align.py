"""Aligns random prompts with the server's tokenizer if it counts more tokens, as vLLM does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gevent.pool

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.control_api import Server
from llmbench_locust.workload.sample import SampleRequest


def aligned(
    samples: list[SampleRequest], config: RunConfig, server: Server, say: Callable[[str], None]
) -> list[SampleRequest]:
    """The samples, shortened where the server counts more tokens. The server counts the first one,
    and all of them only if its count differs.

    Without /tokenize on the server, the samples stay as they are.
    """
    if not samples or (counted := differing_count(samples[0], config, server)) is None:
        return samples
    model = _model(config)
    say(
        f"The server counts {counted} tokens where {samples[0].prompt_len} were made: aligning the "
        "prompts to its tokenizer."
    )
    return list(gevent.pool.Pool(16).imap(lambda sample: _align(sample, server, model), samples))


def differing_count(first: SampleRequest, config: RunConfig, server: Server) -> int | None:
    """The server's count of the first prompt if it differs; None if there is nothing to align."""
    wanted = config.dataset.random_tokens and not config.mix
    if not wanted or not isinstance(first.prompt, str):
        return None
    ids = server.tokenize(_model(config), first.prompt)
    return None if ids is None or len(ids) == first.prompt_len else len(ids)


def _model(config: RunConfig) -> str:
    return config.served_model_name or config.model or ""


def _align(sample: SampleRequest, server: Server, model: str) -> SampleRequest:
    if not isinstance(sample.prompt, str):
        return sample
    ids = server.tokenize(model, sample.prompt)
    if ids is None or len(ids) <= sample.prompt_len:
        return sample
    text = server.detokenize(model, ids[: sample.prompt_len])
    return sample if text is None else replace(sample, prompt=text)
