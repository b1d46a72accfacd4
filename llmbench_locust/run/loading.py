"""Tokenizer and workload, loaded in a thread off the event loop. No gevent in here."""

from __future__ import annotations

from typing import Any

from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.server import Server
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizers import load_tokenizer


def load_workload(config: RunConfig, server: Server | None, bar: Any = None) -> tuple[Any, list[SampleRequest]]:
    """(tokenizer, samples). ``bar``: a tqdm bar to move. Raises ConfigError."""

    def progress(done: int, total: int) -> None:
        if bar is not None:
            bar.total = total
            bar.update(done - bar.n)

    tokenizer = load_tokenizer(config)
    return tokenizer, load_requests(config, tokenizer, progress)
