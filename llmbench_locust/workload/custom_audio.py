"""``custom_audio``: JSONL with ``audio`` (a path; for chat also an http(s) or data URL) and
optionally ``prompt``.

For a chat backend the sound goes into the message as WAV in base64, for ``openai-audio`` as a file
of its own.
"""

from __future__ import annotations

import os

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect, oversample, own_output_len, shuffle
from llmbench_locust.workload.files import bad_line, read_prompts
from llmbench_locust.workload.media import audio_file, audio_part
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = None
) -> list[SampleRequest]:
    """The samples, shuffled by seed. Raises ConfigError with the line's number."""
    rows = read_prompts(config)
    shuffle(rows, config)
    made = (_sample(row, line, config, tokenizer) for line, row in rows[: config.num_prompts])
    return oversample(collect(made, config, progress, config.num_prompts), config)


def _sample(row: Json, line: int, config: RunConfig, tokenizer: Tokenizer | None) -> SampleRequest:
    prompt, audio = row.get("prompt", ""), row.get("audio")
    if not isinstance(prompt, str) or not isinstance(audio, str) or not audio:
        what = "needs a path as 'audio', and a text as 'prompt' if it has one"
        raise bad_line(config, line, what)
    folder, chat = os.path.dirname(os.path.abspath(config.dataset_path)), config.backend_info.chat
    try:
        media = audio_part(audio, folder=folder) if chat else audio_file(audio, folder=folder)
    except ConfigError as e:
        raise ConfigError(f"{e} (line {line})") from None
    if tokenizer and tokenizer.chat_template and not chat and not config.skip_chat_template:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": prompt}])
    prompt_len = 1 if tokenizer is None else len(tokenizer.encode(prompt))
    return SampleRequest(prompt, prompt_len, own_output_len(row, line, config), multi_modal=media)
