"""Tokenizer and workload, loaded in a thread off the event loop. No gevent in here."""

from __future__ import annotations

from typing import Any

from llmbench_locust.errors import BenchError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer
from llmbench_locust.workload.tokenizers import load_tokenizer


def load_workload(
    config: RunConfig, bar: Any = None
) -> tuple[Tokenizer | None, list[SampleRequest]] | BenchError:
    """(tokenizer, samples), or what is wrong (gevent's thread pool would print what is raised).
    ``bar``: a tqdm bar to move.
    """

    def progress(done: int, total: int) -> None:
        if bar is not None:
            bar.total = total
            bar.update(done - bar.n)

    try:
        tokenizer = load_tokenizer(config)
        samples = load_requests(config, tokenizer, progress)
    except BenchError as e:
        return e
    return tokenizer, samples
