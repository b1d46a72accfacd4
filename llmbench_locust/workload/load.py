"""Makes the list of requests of a run from its configuration."""

from __future__ import annotations

from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload import mix
from llmbench_locust.workload.ages import with_ages
from llmbench_locust.workload.one_dataset import load_dataset
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.structured import with_forms
from llmbench_locust.workload.system_prompt import with_system_prompt
from llmbench_locust.workload.tokenizer import Tokenizer


def load_requests(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of the dataset or mix. Raises ConfigError."""
    load = mix.load if config.mix else load_dataset
    samples = with_system_prompt(load(config, tokenizer, progress), config, tokenizer)
    return with_forms(with_ages(samples, config, tokenizer), config)
