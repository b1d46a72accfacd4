"""Which function loads which dataset. Each takes (config, tokenizer, progress) and is imported when
it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.sample import SampleRequest

Progress = Callable[[int, int], None] | None
Loader = Callable[[Any, Any, Progress], list[SampleRequest]]

DATASETS: dict[str, str] = {
    "random": "random_text:load",
    "random-rerank": "random_text:load_rerank",
    "random-mm": "random_mm:load",
    "prefix_repetition": "prefix_repetition:load",
    "sharegpt": "sharegpt:load",
    "burstgpt": "burstgpt:load",
    "sonnet": "sonnet:load",
    "custom": "custom:load",
    "custom_image": "custom_image:load",
    "custom_audio": "custom_audio:load",
    "spec_bench": "custom:load_spec_bench",
    "hf": "hf:load",
    "timed_trace": "timed_trace:load",
    "azure": "csv_trace:load",
    "mix": "mix:load",
}


def loader_of(name: str) -> Loader:
    """Raises ConfigError for a name that is not known."""
    try:
        module, _, function = DATASETS[name].partition(":")
    except KeyError:
        raise ConfigError(
            f"--dataset-name: {name!r} is not known; one of {', '.join(DATASETS)}"
        ) from None
    loader: Loader = getattr(import_module(f"llmbench_locust.workload.{module}"), function)
    return loader
