"""``custom_audio``: JSONL with ``audio`` (a path; for chat also an http(s) or data URL) and
optionally ``prompt``.

For a chat backend the sound goes into the message as WAV in base64, for ``openai-audio`` as a file
of its own.
"""

from __future__ import annotations

import os
import random

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import oversample, own_output_len
from llmbench_locust.workload.files import read_jsonl
from llmbench_locust.workload.media import audio_file, audio_part
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = None
) -> list[SampleRequest]:
    """The samples, shuffled by seed. Raises ConfigError with the line's number."""
    path = config.dataset_path
    if not str(path).endswith(".jsonl"):
        raise ConfigError(f"--dataset-path: {path!r}; custom_audio reads files that end in .jsonl")
    rows = read_jsonl(path)
    if not config.disable_shuffle:
        random.Random(config.seed).shuffle(rows)
    folder, chat = os.path.dirname(os.path.abspath(path)), config.backend_info.chat
    samples = []
    for i, (line, row) in enumerate(rows[: config.num_prompts]):
        prompt, audio = row.get("prompt", ""), row.get("audio")
        if not isinstance(prompt, str) or not isinstance(audio, str) or not audio:
            raise ConfigError(
                f"--dataset-path: {path!r} line {line} needs a path as 'audio', and a text as "
                "'prompt' if it has one"
            )
        try:
            media = audio_part(audio, folder=folder) if chat else audio_file(audio, folder=folder)
        except ConfigError as e:
            raise ConfigError(f"{e} (line {line})") from None
        if tokenizer and tokenizer.chat_template and not chat and not config.skip_chat_template:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True
            )
        prompt_len = 1 if tokenizer is None else len(tokenizer.encode(prompt))
        output_len = own_output_len(row, line, config)
        samples.append(
            SampleRequest(
                prompt, prompt_len, output_len, f"{config.request_id_prefix}{i}", multi_modal=media
            )
        )
        if progress is not None:
            progress(len(samples), config.num_prompts)
    return oversample(samples, config)
