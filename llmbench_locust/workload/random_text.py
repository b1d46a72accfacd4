"""``random``: prompts of tokens in a row from a random place in the vocabulary, of random lengths.
And ``random-rerank``.

All draws come from one numpy generator of the seed, in vLLM's order: input lengths, output lengths,
offsets, then what prompts need that came out too short.
"""

from __future__ import annotations

import math

import numpy as np

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.exact import exact_prompt, exact_prompts
from llmbench_locust.workload.random_tokens import (
    draw_lengths,
    drawer,
    own_len,
    row,
    shared_prefix,
    tokens_without,
)
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.synthetic_chats import load_chats
from llmbench_locust.workload.tokenizer import Tokenizer


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """``--num-prompts`` prompts; with ``--random-batch-size`` several in one request."""
    if config.random_batch_size > 1 and config.backend_info.kind != "pooling":
        raise ConfigError(
            f"--random-batch-size: {config.random_batch_size} is for pooling backends; use 1 with "
            f"--backend {config.backend}"
        )
    if config.multi_turn:
        return load_chats(config, tokenizer, progress)
    rng = np.random.default_rng(config.seed)
    n, prefix_len, prefix = config.num_prompts, config.random_prefix_len, config.request_id_prefix
    least = prefix_len + math.floor(
        own_len(config.random_input_len, tokenizer) * (1 - config.random_range_ratio[0])
    )
    if least < 1:
        raise ConfigError(
            f"--random-input-len: {config.random_input_len} leaves prompts of no token "
            "(special tokens "
            f"{tokenizer.num_special_tokens_to_add()}, range ratio "
            f"{config.random_range_ratio[0]:g}); more, or a prefix"
        )
    lens = (config.random_input_len, config.random_output_len)
    ratio = config.random_range_ratio
    input_lens, output_lens, offsets = draw_lengths(rng, n, ratio, lens, tokenizer)
    allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
    draw = drawer(rng, tokenizer)
    shared = shared_prefix(tokenizer, allowed, prefix_len, rng)
    sequences = [shared + row(allowed, int(offsets[i]) + i, int(input_lens[i])) for i in range(n)]
    targets = [prefix_len + int(length) for length in input_lens]
    _warm(sequences, config, rng)
    prompts = exact_prompts(tokenizer, sequences, targets, draw, progress)
    requests = [
        SampleRequest(text, len(ids), int(output_lens[i]), f"{prefix}{i}")
        for i, (text, ids) in enumerate(prompts)
    ]
    size = config.random_batch_size
    return requests if size <= 1 else batched(requests, size, prefix)


def _warm(sequences: list[list[int]], config: RunConfig, rng: np.random.Generator) -> None:
    """``--random-cache-hit-fraction`` of the prompts begin alike, in place."""
    if not config.random_cache_hit_fraction:
        return
    base = max(sequences, key=len)[:]
    for sequence in sequences:
        if rng.random() < config.random_cache_hit_fraction:
            shared = round(len(sequence) * config.random_cache_ratio)
            sequence[:shared] = base[:shared]


def load_rerank(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = None
) -> list[SampleRequest]:
    """A query and ``--random-batch-size`` documents in each request. Raises ConfigError.

    For a cross-encoder query and document share ``--random-input-len``, with a separator each; with
    ``--no-reranker`` the query is one input more and each has the whole length.
    """
    rng = np.random.default_rng(config.seed)
    cross = not config.no_reranker
    separators = int(cross)
    n, size, ratio = config.num_prompts, config.random_batch_size, config.random_range_ratio
    if not cross:
        if n <= 1 or size <= 1:
            raise ConfigError(
                "--no-reranker: --num-prompts and --random-batch-size must both be more than 1"
            )
        n, size = n - 1, size - 1
    whole = config.random_input_len
    query_lens, _, query_offsets = draw_lengths(
        rng, 1, ratio, (whole // 2 - 1 if cross else whole, 0), tokenizer
    )
    query_len = int(query_lens[0])
    document_len = whole - query_len - separators if cross else whole
    document_lens, _, offsets = draw_lengths(rng, n, ratio, (document_len, 0), tokenizer)
    allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
    draw = drawer(rng, tokenizer)
    query, query_ids = exact_prompt(
        tokenizer, row(allowed, int(query_offsets[0]), query_len), query_len, draw
    )
    sequences = [row(allowed, int(offsets[i]) + i + 1, int(document_lens[i])) for i in range(n)]
    documents = exact_prompts(tokenizer, sequences, [int(x) for x in document_lens], draw, progress)
    requests = []
    for number, begin in enumerate(range(0, n, size)):
        part = documents[begin : begin + size]
        queries = (len(query_ids) + separators) * len(part) if cross else len(query_ids)
        length = queries + sum(len(ids) for _, ids in part)
        prompt = [query, *(text for text, _ in part)]
        requests.append(SampleRequest(prompt, length, 0, f"{config.request_id_prefix}{number}"))
    return requests


def batched(requests: list[SampleRequest], size: int, prefix: str) -> list[SampleRequest]:
    """``size`` texts in one request, for embeddings."""
    found = []
    for number, begin in enumerate(range(0, len(requests), size)):
        group = requests[begin : begin + size]
        texts, length = [str(r.prompt) for r in group], sum(r.prompt_len for r in group)
        found.append(SampleRequest(texts, length, 0, f"{prefix}{number}"))
    return found
