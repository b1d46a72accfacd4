"""``speed_bench``: SPEED-Bench as its own preparation script leaves it, one JSONL file a subset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.custom import in_category, questions
from llmbench_locust.workload.files import read_jsonl
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

#: What the published rows hold instead of texts that the preparation script has to fetch.
_PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED"


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """The first message of each row, in the order of seed 0 whatever ``--seed`` says, as in vLLM.

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
        raise ConfigError(f"--dataset-path: {where} has no 'messages' with a text 'content'")
    if _PLACEHOLDER in text:
        raise ConfigError(
            f"--dataset-path: {where} is a placeholder; run the preparation script of SPEED-Bench "
            "first"
        )
    return text
