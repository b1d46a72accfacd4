"""Random prompts as the server's tokenizer counts them, if it counts more: as in vLLM."""

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
    """The samples, cut where the server counts more tokens. The first one is asked for; only where
    that differs, all are.

    A server without /tokenize leaves everything as it is.
    """
    first = samples[0] if samples else None
    wanted = config.dataset.random_tokens and not config.mix
    if first is None or not wanted or not isinstance(first.prompt, str):
        return samples
    model = config.served_model_name or config.model or ""
    ids = server.tokenize(model, first.prompt)
    if ids is None or len(ids) == first.prompt_len:
        return samples
    say(
        f"The server counts {len(ids)} tokens where {first.prompt_len} were made: aligning the "
        "prompts to its tokenizer."
    )
    return list(gevent.pool.Pool(16).imap(lambda sample: _align(sample, server, model), samples))


def _align(sample: SampleRequest, server: Server, model: str) -> SampleRequest:
    if not isinstance(sample.prompt, str):
        return sample
    ids = server.tokenize(model, sample.prompt)
    if ids is None or len(ids) <= sample.prompt_len:
        return sample
    text = server.detokenize(model, ids[: sample.prompt_len])
    return sample if text is None else replace(sample, prompt=text)
