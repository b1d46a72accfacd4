"""``sonnet``: lines of poems; all prompts share the first lines, the others are random."""

from __future__ import annotations

import random
from io import StringIO
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect
from llmbench_locust.workload.files import read_text
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

BASE = "Pick as many lines as you can from these poem lines:\n"
OWN_LINES = Path(__file__).parent.parent / "data" / "sonnet.txt"
#: A prompt that is too long is drawn again, at most this often.
MOST_TRIES = 10_000


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """Prompts from our own poem if there is no ``--dataset-path``. The text is in the chat template
    unless the backend is chat.

    Raises ConfigError if prompts of the requested lengths are not possible.
    """
    path = config.dataset_path or str(OWN_LINES)
    lines = list(StringIO(read_text(path)))  # split at newlines only, like a file
    if not lines:
        raise ConfigError(f"--dataset-path: {path!r} is empty")

    def formatted(text: str) -> str:
        message = [{"role": "user", "content": text}]
        return str(tokenizer.apply_chat_template(message, add_generation_prompt=True))

    encoded = tokenizer.encode_batch(lines, add_special_tokens=True)
    average = sum(map(len, encoded)) / len(lines)
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

    def sample() -> SampleRequest:
        for _ in range(MOST_TRIES):
            plain = BASE + "".join(lines[:shared] + rng.choices(lines, k=total - shared))
            whole = formatted(plain)
            prompt_len = len(tokenizer.encode(whole))
            if prompt_len <= input_len:
                prompt = plain if config.backend_info.chat else whole
                return SampleRequest(prompt, prompt_len, config.sonnet_output_len)
        raise ConfigError(
            f"--sonnet-input-len: no {total} lines of {path!r} fit into {input_len} tokens"
        )

    n = config.num_prompts
    return collect((sample() for _ in range(n)), config, progress, n)
