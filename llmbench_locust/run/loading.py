"""Loads tokenizer and workload in a thread, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gevent

from llmbench_locust.errors import BenchError, SetupError, first_line
from llmbench_locust.options.config import RunConfig
from llmbench_locust.terminal import Status
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import Stream, stream_of
from llmbench_locust.workload.tokenizer import Tokenizer
from llmbench_locust.workload.tokenizers import load_tokenizer

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work`` in a native thread while the event loop runs on. Returns its result or raises
    its BenchError.
    """

    def caught() -> T | BenchError:
        try:
            return work(*args, **kwargs)
        except BenchError as e:
            return e  # gevent's thread pool would print what is raised
        except MemoryError as e:
            return SetupError(f"the workload does not fit into memory: {first_line(e)}")

    found: T | BenchError = gevent.get_hub().threadpool.apply(caught)
    if isinstance(found, BenchError):
        raise found
    return found


def load_workload(
    config: RunConfig, status: Status | None = None, *, whole: bool = False
) -> tuple[Tokenizer | None, list[SampleRequest], Stream | None]:
    """(tokenizer, samples, stream). With a stream, the samples are its first ones. ``whole``: make
    all samples, without a stream. ``status`` shows the progress. Raises ConfigError.
    """

    def progress(done: int, total: int) -> None:
        if status is not None:
            status.show(f"Preparing prompts: {done}/{total}")

    try:
        tokenizer = load_tokenizer(config)
        stream = None if whole else stream_of(config, tokenizer)
        samples = load_requests(config, tokenizer, progress) if stream is None else stream.first
    finally:
        if status is not None:
            status.clear()
    return tokenizer, samples, stream
