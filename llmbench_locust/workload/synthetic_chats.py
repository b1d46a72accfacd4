"""Made-up conversations, ``random --multi-turn``, by the flags of vLLM's Rust client.

Each message is random text. The first one of a conversation has ``--random-input-len`` tokens,
later ones ``--per-turn-input-len``. Without a prefix ratio a turn follows the responses that really
came. With ``--multi-turn-prefix-global-ratio`` or ``-conversation-ratio`` there is no history: each
message begins with a part that all conversations share, and one that its conversation shares, so
that the share of cached tokens is known beforehand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.exact import exact_prompts
from llmbench_locust.workload.random_tokens import Ints, draw_lengths, drawer, row, tokens_without
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.sessions import number
from llmbench_locust.workload.tokenizer import Tokenizer


def load_chats(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = None
) -> list[SampleRequest]:
    """The turns of ``--num-sessions`` conversations, or of as many as ``--num-prompts`` needs."""
    rng = np.random.default_rng(config.seed)
    sizes = _sizes(config, rng)
    first = np.zeros(int(sizes.sum()), np.bool_)
    ends = np.cumsum(sizes)
    first[ends - sizes] = True
    sequences, outputs = _messages(config, tokenizer, rng, first)
    lengths = [len(sequence) for sequence in sequences]
    prompts = exact_prompts(tokenizer, sequences, lengths, drawer(rng, tokenizer), progress)
    # With shared parts a message is complete by itself: its history would come before them.
    history = -1 if config.prefix_ratios > 0 else None
    samples = [
        SampleRequest(text, len(ids), int(output_len), history=history)
        for (text, ids), output_len in zip(prompts, outputs, strict=True)
    ]
    return number([samples[end - n : end] for end, n in zip(ends, sizes, strict=True)], config)


def _sizes(config: RunConfig, rng: np.random.Generator) -> Ints:
    """Turns of each conversation (int64), of as many as are needed."""
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
    """Tokens of each message, and the lengths of the responses. ``first``: which messages begin a
    conversation.
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
                f"--per-turn-input-len: {lengths[i]} tokens are no more than the shared parts, "
                f"which have {len(everyones) + own_len}"
            )
        front = prefix if first[i] or config.prefix_ratios > 0 else []
        found.append([*front, *everyones, *own, *row(allowed, int(places[i]) + i, left)])
    return found, output_lens
