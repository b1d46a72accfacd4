"""The requests of one dataset."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer


def load_dataset(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of ``--dataset-name``. Raises ConfigError."""
    dataset = config.dataset
    if tokenizer is None and dataset.tokenizer:
        raise ConfigError(f"--skip-tokenizer-init: --dataset-name {dataset.name} needs a tokenizer")
    load = dataset.load
    if isinstance(load, str):
        load = EntryPoint(dataset.name, load, "").load()
    samples: list[SampleRequest] = load(config, tokenizer, progress)
    return samples
