"""``custom``: a JSONL file with a ``prompt`` in each line. ``spec_bench``: one with ``turns``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.choose import oversample, own_output_len
from llmbench_locust.workload.files import read_jsonl
from llmbench_locust.workload.sample import SampleRequest

Progress = Callable[[int, int], None] | None
Row = tuple[int, dict[str, Any]]


def load(config: Any, tokenizer: Any, progress: Progress = None) -> list[SampleRequest]:
    """Prompts in shuffled order, with the chat template unless ``--skip-chat-template``. Raises
    ConfigError with the line.
    """
    if not config.dataset_path.endswith(".jsonl"):
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} is no .jsonl file, which custom wants"
        )
    rows = read_jsonl(config.dataset_path)
    for line, row in rows:
        if not isinstance(row.get("prompt"), str):
            raise ConfigError(
                f"--dataset-path: {config.dataset_path!r} line {line} has no text 'prompt'"
            )
    _shuffle(rows, config.seed, config)
    lens = [
        1 if tokenizer is None else own_output_len(row, line, config)
        for line, row in rows[: config.num_prompts]
    ]
    return _samples([row["prompt"] for _, row in rows], lens, config, tokenizer, progress)


def load_spec_bench(config: Any, tokenizer: Any, progress: Progress = None) -> list[SampleRequest]:
    """The first turn of each question, always in the chat template and in the order of seed 0.

    vLLM passes neither its ``--seed`` nor ``--skip-chat-template`` on here.
    """
    config = _with(config, seed=0, skip_chat_template=False)
    rows = read_jsonl(config.dataset_path)
    chosen: list[Row] = []
    for line, row in rows:
        turns = row.get("turns")
        if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
            raise ConfigError(
                f"--dataset-path: {config.dataset_path!r} line {line} has no list of texts 'turns'"
            )
        if config.spec_bench_category in (None, "", row.get("category")):
            chosen.append((line, {"prompt": turns[0]}))
    if not chosen:
        known = sorted({str(row.get("category")) for _, row in rows})
        raise ConfigError(
            f"--spec-bench-category: no {config.spec_bench_category!r} there; one of "
            f"{', '.join(known)}"
        )
    _shuffle(chosen, 0, config)
    prompts = [row["prompt"] for _, row in chosen]
    return _samples(
        prompts, [config.spec_bench_output_len] * len(prompts), config, tokenizer, progress
    )


def _with(config: Any, **values: Any) -> Any:
    try:
        return replace(config, **values)
    except TypeError:  # a plain namespace
        import copy

        copied = copy.copy(config)
        vars(copied).update(values)
        return copied


def _shuffle(rows: list[Row], seed: int, config: Any) -> None:
    if not config.disable_shuffle:
        random.Random(seed).shuffle(rows)


def _samples(
    prompts: list[str], lens: list[int], config: Any, tokenizer: Any, progress: Progress
) -> list[SampleRequest]:
    prompts = prompts[: config.num_prompts]
    if tokenizer is not None and not config.skip_chat_template:
        more = config.chat_template_kwargs
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": p}], add_generation_prompt=True, tokenize=False, **more
            )
            for p in prompts
        ]
    counts = [1] * len(prompts)
    if tokenizer is not None:
        counts = tokenizer.count_batch(prompts, add_special_tokens=True)
    if progress is not None:
        progress(len(prompts), len(prompts))
    samples = [
        SampleRequest(prompt, count, length, f"{config.request_id_prefix}{i}")
        for i, (prompt, count, length) in enumerate(zip(prompts, counts, lens, strict=False))
    ]
    return oversample(samples, config)
