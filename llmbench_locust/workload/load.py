"""The workload of a run: from a configuration to a list of requests. No network but that of the
dataset itself, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.registry import loader_of
from llmbench_locust.workload.sample import SampleRequest

#: Datasets that can do without a tokenizer.
NEEDS_NONE = ("custom", "custom_image", "custom_audio")


def load_requests(
    config: Any, tokenizer: Any, progress: Callable[[int, int], None] | None = None
) -> list[SampleRequest]:
    """``config``: a `RunConfig`. ``progress(done, total)`` is called now and then. Raises
    ConfigError.
    """
    if config.mix:
        return loader_of("mix")(config, tokenizer, progress)
    if tokenizer is None and config.dataset_name not in NEEDS_NONE:
        raise ConfigError(
            f"--skip-tokenizer-init: --dataset-name {config.dataset_name} needs a tokenizer"
        )
    return loader_of(config.dataset_name)(config, tokenizer, progress)
