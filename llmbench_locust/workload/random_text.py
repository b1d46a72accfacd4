"""``random``: prompts of tokens in a row from a random place in the vocabulary, of random lengths.
And ``random-rerank``.

All draws come from one numpy generator of the seed, in vLLM's order: input lengths, output lengths,
offsets, then what prompts need that came out too short.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.exact import exact_prompt, exact_prompts
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

Ints = NDArray[np.int64]


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """``--num-prompts`` prompts; with ``--random-batch-size`` several in one request."""
    if config.random_batch_size > 1 and config.backend_info.kind != "pooling":
        raise ConfigError(
            f"--random-batch-size: {config.random_batch_size} is for pooling backends; use 1 with "
            f"--backend {config.backend}"
        )
    rng = np.random.default_rng(config.seed)
    n, prefix_len, prefix = config.num_prompts, config.random_prefix_len, config.request_id_prefix
    least = prefix_len + math.floor(
        _own_len(config.random_input_len, tokenizer) * (1 - config.random_range_ratio[0])
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
    shared: list[int] = []
    if prefix_len > 0:
        chosen = allowed[rng.integers(0, len(allowed), size=prefix_len)].tolist()
        shared = exact_prompt(tokenizer, chosen, prefix_len, draw)[1]
    sequences = [shared + row(allowed, int(offsets[i]) + i, int(input_lens[i])) for i in range(n)]
    targets = [prefix_len + int(length) for length in input_lens]
    prompts = exact_prompts(tokenizer, sequences, targets, draw, progress)
    requests = [
        SampleRequest(text, len(ids), int(output_lens[i]), f"{prefix}{i}")
        for i, (text, ids) in enumerate(prompts)
    ]
    size = config.random_batch_size
    return requests if size <= 1 else batched(requests, size, prefix)


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


def draw_lengths(
    rng: np.random.Generator,
    n: int,
    ratio: tuple[float, float],
    lens: tuple[int, int],
    tokenizer: Tokenizer,
) -> tuple[Ints, Ints, Ints]:
    """(input lengths, output lengths, offsets into the vocabulary), each int64 of shape (n,).

    Uniform over [floor(len · (1 − r)), ceil(len · (1 + r))], of the input without the tokenizer's
    special tokens; an output has at least one token.
    """
    own, output_len = _own_len(lens[0], tokenizer), lens[1]
    low, high = math.floor(own * (1 - ratio[0])), math.ceil(own * (1 + ratio[0]))
    out_low = max(1, math.floor(output_len * (1 - ratio[1])))
    out_high = max(1, math.ceil(output_len * (1 + ratio[1])))
    return (
        rng.integers(low, high + 1, size=n),
        rng.integers(out_low, out_high + 1, size=n),
        rng.integers(0, tokenizer.vocab_size, size=n),
    )


def tokens_without(tokenizer: Tokenizer, special: list[int]) -> Ints:
    """The vocabulary without ``special`` tokens, in order (int64)."""
    return np.setdiff1d(np.arange(tokenizer.vocab_size), np.array(special, np.int64))


def row(allowed: Ints, begin: int, length: int) -> list[int]:
    """``length`` tokens in a row from place ``begin``, round the vocabulary."""
    found: list[int] = allowed[(begin + np.arange(length)) % len(allowed)].tolist()
    return found


def drawer(rng: np.random.Generator, tokenizer: Tokenizer) -> Callable[[int], list[int]]:
    def draw(k: int) -> list[int]:
        ids: list[int] = rng.integers(0, tokenizer.vocab_size, size=k).tolist()
        return ids

    return draw


def _own_len(length: int, tokenizer: Tokenizer) -> int:
    return max(0, length - int(tokenizer.num_special_tokens_to_add()))
