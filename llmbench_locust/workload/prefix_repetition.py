"""``prefix_repetition``: few prefixes, many suffixes, all random tokens. Tests prefix caches."""

from __future__ import annotations

import numpy as np

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import shuffle
from llmbench_locust.workload.exact import exact_prompt
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The same number of prompts for each prefix, shuffled. Raises ConfigError."""
    prefixes = config.prefix_repetition_num_prefixes
    each = config.num_prompts // prefixes
    if each == 0:
        raise ConfigError(
            f"--num-prompts: {config.num_prompts} is less than "
            f"--prefix-repetition-num-prefixes {prefixes}"
        )
    rng = np.random.RandomState(config.seed)

    def draw(k: int) -> list[int]:
        ids: list[int] = rng.randint(0, tokenizer.vocab_size, size=k).tolist()
        return ids

    def exact(length: int) -> list[int]:
        return exact_prompt(tokenizer, draw(length), length, draw)[1]

    requests = []
    for _ in range(prefixes):
        prefix = exact(config.prefix_repetition_prefix_len)
        for _ in range(each):
            ids = prefix + exact(config.prefix_repetition_suffix_len)
            text, output_len = tokenizer.decode(ids), config.prefix_repetition_output_len
            requests.append(SampleRequest(text, len(ids), output_len))
            progress(len(requests), each * prefixes)
    shuffle(requests, config)
    for i, request in enumerate(requests):
        request.request_id = f"{config.request_id_prefix}{i}"
    return requests
