"""``custom``: a JSONL file with a ``prompt`` in each line. ``spec_bench``: one with ``turns``.
``speed_bench``: the output of SPEED-Bench's preparation script, one JSONL file per subset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import oversample, own_output_len, reference, shuffle
from llmbench_locust.workload.files import bad_line, read_jsonl, read_prompts
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

Row = tuple[int, Json]


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """Prompts in shuffled order, in the chat template unless ``--skip-chat-template``."""
    rows = read_prompts(config)
    for line, row in rows:
        if not isinstance(row.get("prompt"), str):
            raise bad_line(config, line, "has no string 'prompt'")
    shuffle(rows, config)
    lens = [
        1 if tokenizer is None else own_output_len(row, line, config)
        for line, row in rows[: config.num_prompts]
    ]
    wanted = [reference(row, config) for _, row in rows]
    return _samples([row["prompt"] for _, row in rows], lens, config, tokenizer, progress, wanted)


def load_spec_bench(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The first turn of each question, always in the chat template and shuffled with seed 0.

    As in vLLM, ``--seed`` and ``--skip-chat-template`` have no effect here. Raises ConfigError.
    """
    rows = read_jsonl(config.dataset_path)
    for line, row in rows:
        turns = row.get("turns")
        if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
            raise bad_line(config, line, "has no list of strings 'turns'")
    rows = in_category(rows, config.spec_bench_category, "--spec-bench-category")
    config = replace(config, seed=0, skip_chat_template=False)
    prompts = [row["turns"][0] for _, row in rows]
    return questions(prompts, config.spec_bench_output_len, config, tokenizer, progress)


def in_category(rows: list[Row], category: str | None, flag: str) -> list[Row]:
    """The rows of ``category``, all rows if it is None. Raises ConfigError if there are none."""
    chosen = [(line, row) for line, row in rows if category in (None, "", row.get("category"))]
    if not chosen:
        known = sorted({str(row.get("category")) for _, row in rows})
        raise ConfigError(f"{flag}: {category!r} is not in the file; use one of {', '.join(known)}")
    return chosen


def questions(
    prompts: list[str],
    output_len: int,
    config: RunConfig,
    tokenizer: Tokenizer | None,
    progress: Progress,
) -> list[SampleRequest]:
    """Shuffled ``prompts``, one user message each; all of them if ``--num-prompts`` is below 1."""
    if config.num_prompts < 1:
        config = replace(config, num_prompts=len(prompts))
    shuffle(prompts, config)
    return _samples(prompts, [output_len] * len(prompts), config, tokenizer, progress)


def _samples(
    prompts: list[str],
    lens: list[int],
    config: RunConfig,
    tokenizer: Tokenizer | None,
    progress: Progress,
    wanted: Sequence[str | None] = (),
) -> list[SampleRequest]:
    prompts = prompts[: config.num_prompts]
    if tokenizer is not None and not config.skip_chat_template:
        more = config.chat_template_kwargs
        turns = ([{"role": "user", "content": prompt}] for prompt in prompts)
        prompts = [tokenizer.apply_chat_template(turn, **more) for turn in turns]
    counts = [1] * len(prompts)
    if tokenizer is not None:
        counts = tokenizer.count_batch(prompts, add_special_tokens=True)
    progress(len(prompts), len(prompts))
    samples = [
        SampleRequest(prompt, count, length, f"{config.request_id_prefix}{i}")
        for i, (prompt, count, length) in enumerate(zip(prompts, counts, lens, strict=False))
    ]
    for sample, text in zip(samples, wanted, strict=False):
        sample.reference = text
    return oversample(samples, config)


#: Stands in the published rows for texts that the preparation script must download.
_PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED"


def load_speed_bench(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The first message of each row, shuffled with seed 0 regardless of ``--seed``, as in vLLM.

    Raises ConfigError for rows without messages and for a file that was not prepared.
    """
    path = str(Path(config.dataset_path) / f"{config.speed_bench_dataset_subset}.jsonl")
    rows = read_jsonl(path)
    rows = in_category(rows, config.speed_bench_category, "--speed-bench-category")
    prompts = [_first_message(row.get("messages"), f"{path!r} line {line}") for line, row in rows]
    config = replace(config, seed=0)
    return questions(prompts, config.speed_bench_output_len, config, tokenizer, progress)


def _first_message(messages: object, where: str) -> str:
    first = messages[0] if isinstance(messages, list) and messages else None
    text = first.get("content") if isinstance(first, dict) else None
    if not isinstance(text, str):
        raise ConfigError(f"--dataset-path: {where} has no 'messages' with a string 'content'")
    if _PLACEHOLDER in text:
        raise ConfigError(
            f"--dataset-path: {where} is a placeholder; run the preparation script of SPEED-Bench "
            "first"
        )
    return text
