"""Tokenizer and workload, loaded in a thread off the event loop. No gevent in here."""

from __future__ import annotations

from llmbench_locust.errors import BenchError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.terminal import Status
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.stream import Stream, stream_of
from llmbench_locust.workload.tokenizer import Tokenizer
from llmbench_locust.workload.tokenizers import load_tokenizer


def load_workload(
    config: RunConfig, status: Status | None = None, *, whole: bool = False
) -> tuple[Tokenizer | None, list[SampleRequest], Stream | None] | BenchError:
    """(tokenizer, samples, stream), or what is wrong (gevent's thread pool would print what is
    raised). With a stream, the samples are its first ones; ``whole``: none, all are made.
    ``status`` shows how far it is.
    """

    def progress(done: int, total: int) -> None:
        if status is not None:
            status.show(f"Preparing prompts: {done}/{total}")

    try:
        tokenizer = load_tokenizer(config)
        stream = None if whole else stream_of(config, tokenizer)
        samples = load_requests(config, tokenizer, progress) if stream is None else stream.first
    except BenchError as e:
        return e
    finally:
        if status is not None:
            status.clear()
    return tokenizer, samples, stream
