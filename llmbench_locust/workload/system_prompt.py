"""``--system-prompt``: one text at the start of every prompt, so that all share a prefix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.values import MOST_TOKENS
from llmbench_locust.workload.exact import exact_prompt
from llmbench_locust.workload.files import read_text
from llmbench_locust.workload.random_tokens import drawer, row, tokens_without
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer


def with_system_prompt(
    samples: list[SampleRequest], config: RunConfig, tokenizer: Tokenizer | None
) -> list[SampleRequest]:
    """``samples`` with the text of ``--system-prompt``: as a system message for a chat backend,
    else before the prompt. Turns that continue others have it in their history.
    """
    if config.system_prompt is None:
        return samples
    text = _text(config.system_prompt, config.seed, tokenizer)
    ids = [] if tokenizer is None else tokenizer.encode(text, add_special_tokens=False)
    return [
        s if s.continues >= 0 else _prefixed(s, text, ids, chat=config.backend_info.chat)
        for s in samples
    ]


def _text(given: str, seed: int, tokenizer: Tokenizer | None) -> str:
    if not given.isdecimal():
        return read_text(given, "--system-prompt")
    if tokenizer is None:
        raise ConfigError("--system-prompt: a number of tokens needs a tokenizer; use a file")
    if int(given) > MOST_TOKENS:
        raise ConfigError(f"--system-prompt: {given} is too large; use 1 to {MOST_TOKENS}")
    rng, length = np.random.default_rng(seed), int(given)
    allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
    chosen = row(allowed, int(rng.integers(len(allowed))), length)
    return exact_prompt(tokenizer, chosen, length, drawer(rng, tokenizer))[0]


def _prefixed(sample: SampleRequest, text: str, ids: list[int], *, chat: bool) -> SampleRequest:
    length = sample.prompt_len + len(ids)
    if chat:
        if sample.chat_messages is None:
            sample = replace(sample)
            sample.to_messages()
        messages = [{"role": "system", "content": text}, *(sample.chat_messages or ())]
        return replace(sample, prompt_len=length, chat_messages=messages)
    if isinstance(sample.prompt, str):
        return replace(sample, prompt_len=length, prompt=f"{text}\n{sample.prompt}")
    if sample.prompt and isinstance(sample.prompt[0], int):
        return replace(sample, prompt_len=length, prompt=[*ids, *sample.prompt])
    raise ConfigError("--system-prompt: not possible with several prompts in one request")
