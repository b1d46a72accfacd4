"""``sonnet``: lines of poems; all prompts share the first lines, the others are random."""

from __future__ import annotations

import random
from io import StringIO
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.files import read_text
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

BASE = "Pick as many lines as you can from these poem lines:\n"
OWN_LINES = Path(__file__).parent.parent / "data" / "sonnet.txt"
#: A prompt that is too long is drawn again; when so many in a row are, the lengths cannot be loaded.
MOST_TRIES = 10_000


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """Without ``--dataset-path``, our own lines. The text carries the chat template unless the
    backend is chat.

    Raises ConfigError where the lengths cannot be loaded.
    """
    path = config.dataset_path or str(OWN_LINES)
    lines = list(StringIO(read_text(path)))  # by newlines alone, as a file is read
    if not lines:
        raise ConfigError(f"--dataset-path: {path!r} is empty")

    def formatted(text: str) -> str:
        message = [{"role": "user", "content": text}]
        return str(tokenizer.apply_chat_template(message, add_generation_prompt=True))

    average = sum(len(ids) for ids in tokenizer.encode_batch(lines, add_special_tokens=True)) / len(
        lines
    )
    offset = len(tokenizer.encode(formatted(BASE)))
    input_len, prefix_len = config.sonnet_input_len, config.sonnet_prefix_len
    if input_len <= offset:
        raise ConfigError(
            f"--sonnet-input-len: {input_len} is too small; the question alone has {offset} tokens"
        )
    if prefix_len > input_len:
        raise ConfigError(
            f"--sonnet-prefix-len: {prefix_len} is more than --sonnet-input-len {input_len}"
        )
    total = round((input_len - offset) / average)
    shared = max(round((prefix_len - offset) / average), 0)
    rng = random.Random(config.seed)
    samples: list[SampleRequest] = []
    missed = 0
    while len(samples) < config.num_prompts:
        extra = rng.choices(lines, k=total - shared)
        plain = BASE + "".join(lines[:shared] + extra)
        whole = formatted(plain)
        prompt_len = len(tokenizer.encode(whole))
        if prompt_len > input_len:
            missed += 1
            if missed >= MOST_TRIES:
                raise ConfigError(
                    f"--sonnet-input-len: no {total} lines of {path!r} fit into {input_len} tokens"
                )
            continue
        missed = 0
        prompt = plain if config.backend_info.chat else whole
        samples.append(
            SampleRequest(
                prompt,
                prompt_len,
                config.sonnet_output_len,
                f"{config.request_id_prefix}{len(samples)}",
            )
        )
        if progress is not None:
            progress(len(samples), config.num_prompts)
    return samples
