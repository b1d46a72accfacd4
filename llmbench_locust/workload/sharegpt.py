"""``sharegpt``: each conversation's first question; its answer sets the output length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload import multi_turn
from llmbench_locust.workload.choose import collect, fits, oversample, shuffle
from llmbench_locust.workload.files import read_conversations
from llmbench_locust.workload.media import image_part, video_part
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

BATCH = 512


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """Conversations of two turns or more, shuffled, and filtered by length as in vLLM."""
    if config.multi_turn:
        return multi_turn.load(config, tokenizer, progress)
    made = islice(_samples(config, tokenizer), config.num_prompts)
    samples = collect(made, config, progress, config.num_prompts)
    if not samples:
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} has no conversation of a usable length"
        )
    return oversample(samples, config)


def _samples(config: RunConfig, tokenizer: Tokenizer) -> Iterator[SampleRequest]:
    entries, given = _entries(config), config.sharegpt_output_len
    shuffle(entries, config)
    for entry, question, prompt_len, output_len in _counted(entries, tokenizer, given):
        if fits(prompt_len, output_len, any_output=given is not None):
            sample = SampleRequest(question, prompt_len, output_len, multi_modal=_media(entry))
            if config.enable_multimodal_chat:
                sample.to_messages()
            yield sample


def _entries(config: RunConfig) -> list[Json]:
    entries = read_conversations(config)
    if not entries:
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} has no conversation of two turns"
        )
    for entry in entries:
        for turn in entry["conversations"][:2]:
            if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
                raise ConfigError(
                    f"--dataset-path: {config.dataset_path!r}: conversation "
                    f"{entry.get('id')!r} has a turn without 'value'"
                )
    return entries


def _counted(
    entries: list[Json], tokenizer: Tokenizer, answer_len: int | None
) -> Iterator[tuple[Json, str, int, int]]:
    """(entry, question, its tokens, tokens of the answer or ``answer_len``), in batches."""
    for begin in range(0, len(entries), BATCH):
        part = entries[begin : begin + BATCH]
        questions = [e["conversations"][0]["value"] for e in part]
        answers = [] if answer_len is not None else [e["conversations"][1]["value"] for e in part]
        counts = tokenizer.count_batch(questions + answers, add_special_tokens=True)
        lens = counts[len(part) :] if answer_len is None else [answer_len] * len(part)
        yield from zip(part, questions, counts[: len(part)], lens, strict=True)


def _media(entry: Json) -> Json | None:
    if entry.get("image"):
        return image_part(entry["image"])
    if entry.get("video"):
        return video_part(entry["video"])
    return None
