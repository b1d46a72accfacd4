"""``random``: prompts of consecutive tokens of the vocabulary, of random start and random length.
``random-rerank``, and the synthetic conversations of ``random --multi-turn``.

All draws come from one seeded numpy generator, in vLLM's order: input lengths, output lengths,
offsets, then tokens to extend prompts that are too short.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.exact import exact_prompt, exact_prompts
from llmbench_locust.workload.random_tokens import (
    Ints,
    draw_lengths,
    drawer,
    own_len,
    row,
    shared_prefix,
    tokens_without,
)
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sessions import number
from llmbench_locust.workload.sharing import Sharing
from llmbench_locust.workload.tokenizer import Tokenizer

#: Prompts whose lengths and offsets are drawn at once if the workload is endless.
ROUND = 1 << 16


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """``--num-prompts`` prompts; with ``--random-batch-size`` several in one request."""
    if config.random_batch_size > 1 and config.backend_info.kind != "pooling":
        raise ConfigError(
            f"--random-batch-size: {config.random_batch_size} is for pooling backends; use 1 with "
            f"--backend {config.backend}"
        )
    if config.multi_turn:
        return load_chats(config, tokenizer, progress)
    requests = RandomPrompts(config, tokenizer, config.num_prompts).take(
        config.num_prompts, progress
    )
    size = config.random_batch_size
    return requests if size <= 1 else batched(requests, size, config.request_id_prefix)


def stream(config: RunConfig, tokenizer: Tokenizer, total: int | None) -> RandomPrompts | None:
    """The requests of `load`, made lazily. None if requests have several prompts."""
    if config.multi_turn or config.random_batch_size > 1:
        return None
    return RandomPrompts(config, tokenizer, total)


class RandomPrompts:
    """The requests in order, made lazily. ``total``: their number, None if endless.

    Lengths and offsets are drawn for all of them at once, as in vLLM; if endless, for `ROUND` at a
    time.
    """

    def __init__(self, config: RunConfig, tokenizer: Tokenizer, total: int | None) -> None:
        check_length(config, tokenizer)
        self.total = total
        self._made = 0
        self._config, self._tokenizer = config, tokenizer
        self._rng = np.random.default_rng(config.seed)
        self._allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
        self._draw_lengths()
        length = config.random_prefix_len
        self._shared = shared_prefix(tokenizer, self._allowed, length, self._rng)
        self._draw_hits()

    def take(self, n: int, progress: Progress = silent) -> list[SampleRequest]:
        """Up to ``n`` more; none at the end."""
        if self.total is None and self._made and self._made % ROUND == 0:
            self._draw_lengths()
            self._draw_hits()
        first = self._made % ROUND if self.total is None else self._made
        places = range(first, min(first + n, len(self._input_lens)))
        config, tokenizer = self._config, self._tokenizer
        prompts = exact_prompts(
            tokenizer,
            [self._sequence(i) for i in places],
            [config.random_prefix_len + int(self._input_lens[i]) for i in places],
            drawer(self._rng, tokenizer),
            progress,
        )
        begin, prefix = self._made - first, config.request_id_prefix
        self._made += len(prompts)
        return [
            SampleRequest(text, len(ids), int(self._output_lens[i]), f"{prefix}{begin + i}")
            for i, (text, ids) in zip(places, prompts, strict=True)
        ]

    @property
    def fingerprint(self) -> bytes:
        """A hash of the drawn lengths, offsets and prefix."""
        drawn = (self._input_lens, self._output_lens, self._offsets, np.array(self._shared))
        return b"".join(hashlib.sha256(array.tobytes()).digest() for array in drawn)

    def sharing(self, sent: int) -> Sharing:
        """What the first ``sent`` prompts share, derived from the draws."""
        n = min(sent, len(self._input_lens))
        begins = (self._offsets[:n] + np.arange(n)) % len(self._allowed)
        lens = self._input_lens[:n].astype(np.int64)
        distinct = len(np.unique(begins << 32 | lens))
        tokens = int(lens.sum()) + n * len(self._shared)
        return Sharing(n, distinct, tokens)

    def _draw_lengths(self) -> None:
        config, tokenizer = self._config, self._tokenizer
        lens, ratio = (config.random_input_len, config.random_output_len), config.random_range_ratio
        n = ROUND if self.total is None else self.total
        drawn = draw_lengths(self._rng, n, ratio, lens, tokenizer)
        self._input_lens, self._output_lens, self._offsets = (a.astype(np.int32) for a in drawn)

    def _draw_hits(self) -> None:
        """``--random-cache-hit-fraction`` of the prompts share a prefix with the longest one."""
        self._hits: NDArray[np.bool_] | None = None
        if fraction := self._config.random_cache_hit_fraction:
            self._hits = self._rng.random(len(self._input_lens)) < fraction
            self._base = self._shared + self._row(int(np.argmax(self._input_lens)))

    def _row(self, i: int) -> list[int]:
        return row(self._allowed, int(self._offsets[i]) + i, int(self._input_lens[i]))

    def _sequence(self, i: int) -> list[int]:
        found = self._shared + self._row(i)
        if self._hits is not None and self._hits[i]:
            common = round(len(found) * self._config.random_cache_ratio)
            found[:common] = self._base[:common]
        return found


def check_length(config: RunConfig, tokenizer: Tokenizer) -> None:
    """Raises ConfigError if a prompt could be empty."""
    own = own_len(config.random_input_len, tokenizer)
    least = config.random_prefix_len + math.floor(own * (1 - config.random_range_ratio[0]))
    if least < 1:
        raise ConfigError(
            f"--random-input-len: {config.random_input_len} allows empty prompts (special tokens "
            f"{tokenizer.num_special_tokens_to_add()}, range ratio "
            f"{config.random_range_ratio[0]:g}); use more tokens, or a prefix"
        )


def load_rerank(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """A query and ``--random-batch-size`` documents in each request. Raises ConfigError.

    For a cross-encoder, query and document share ``--random-input-len``, each with a separator.
    With ``--no-reranker`` the query is another input, and each input has the full length.
    """
    rng = np.random.default_rng(config.seed)
    cross = not config.no_reranker
    separators = int(cross)
    n, size, ratio = config.num_prompts, config.random_batch_size, config.random_range_ratio
    if not cross:
        if n <= 1 or size <= 1:
            raise ConfigError(
                "--no-reranker: --num-prompts and --random-batch-size must both be greater than 1"
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
    for place, begin in enumerate(range(0, n, size)):
        part = documents[begin : begin + size]
        queries = (len(query_ids) + separators) * len(part) if cross else len(query_ids)
        length = queries + sum(len(ids) for _, ids in part)
        prompt = [query, *(text for text, _ in part)]
        requests.append(SampleRequest(prompt, length, 0, f"{config.request_id_prefix}{place}"))
    return requests


def batched(requests: list[SampleRequest], size: int, prefix: str) -> list[SampleRequest]:
    found = []
    for place, begin in enumerate(range(0, len(requests), size)):
        group = requests[begin : begin + size]
        texts, length = [str(r.prompt) for r in group], sum(r.prompt_len for r in group)
        found.append(SampleRequest(texts, length, 0, f"{prefix}{place}"))
    return found


def load_chats(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The turns of ``--num-sessions`` synthetic conversations, or of as many as ``--num-prompts``
    needs. The flags are those of vLLM's Rust client.

    Each message is random text. The first one of a conversation has ``--random-input-len`` tokens,
    later ones ``--per-turn-input-len``. Without a prefix ratio the history has the server's actual
    responses. With ``--multi-turn-prefix-global-ratio`` or ``-conversation-ratio`` there is no
    history. Each message then begins with a part shared by all conversations and one shared within
    its conversation, so that the share of cached tokens is known in advance.
    """
    rng = np.random.default_rng(config.seed)
    sizes = _sizes(config, rng)
    first = np.zeros(int(sizes.sum()), np.bool_)
    ends = np.cumsum(sizes)
    first[ends - sizes] = True
    sequences, outputs = _messages(config, tokenizer, rng, first)
    lengths = [len(sequence) for sequence in sequences]
    prompts = exact_prompts(tokenizer, sequences, lengths, drawer(rng, tokenizer), progress)
    # Shared parts must come first, so a message with them has no history before it.
    history = -1 if config.prefix_ratios > 0 else None
    samples = [
        SampleRequest(text, len(ids), int(output_len), history=history)
        for (text, ids), output_len in zip(prompts, outputs, strict=True)
    ]
    return number([samples[end - n : end] for end, n in zip(ends, sizes, strict=True)], config)


def _sizes(config: RunConfig, rng: np.random.Generator) -> Ints:
    """The number of turns of each conversation (int64), for as many as are needed."""
    low = config.multi_turn_min_turns or config.multi_turn_num_turns
    high = config.multi_turn_max_turns or max(low, config.multi_turn_num_turns)
    if low > high:
        raise ConfigError(
            f"--multi-turn-min-turns: {low} is above --multi-turn-max-turns, which is {high}"
        )
    wanted = config.num_sessions or -(-config.num_prompts // low)
    sizes = rng.integers(low, high + 1, size=wanted)
    if config.num_sessions is not None:
        return sizes
    return sizes[: int(np.searchsorted(np.cumsum(sizes), config.num_prompts)) + 1]


def _messages(
    config: RunConfig, tokenizer: Tokenizer, rng: np.random.Generator, first: NDArray[np.bool_]
) -> tuple[list[list[int]], Ints]:
    """Tokens of each message, and the lengths of the responses. ``first``: whether each message
    begins a conversation.
    """
    n, ratio, output_len = len(first), config.random_range_ratio, config.random_output_len
    later_len = config.per_turn_input_len or config.random_input_len
    first_lens, output_lens, places = draw_lengths(
        rng, n, ratio, (config.random_input_len, output_len), tokenizer
    )
    later_lens, _, shared_places = draw_lengths(rng, n, ratio, (later_len, output_len), tokenizer)
    lengths = np.where(first, first_lens, later_lens)
    allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
    whole = max(0, config.random_input_len - tokenizer.num_special_tokens_to_add())
    begins = rng.integers(len(allowed), size=2).tolist()
    everyones = row(allowed, begins[0], int(whole * config.multi_turn_prefix_global_ratio))
    prefix = row(allowed, begins[1], config.random_prefix_len)
    own_len = int(whole * config.multi_turn_prefix_conversation_ratio)
    own: list[int] = []
    found = []
    for i in range(n):
        if first[i]:
            own = row(allowed, int(shared_places[i]), own_len)
        left = int(lengths[i]) - len(everyones) - own_len
        if left < 1:
            raise ConfigError(
                f"--per-turn-input-len: {lengths[i]} tokens are too few; the shared parts alone "
                f"have {len(everyones) + own_len}"
            )
        front = prefix if first[i] or config.prefix_ratios > 0 else []
        found.append([*front, *everyones, *own, *row(allowed, int(places[i]) + i, left)])
    return found, output_lens
