"""Workloads too large to be made before the first request: makes the requests of `load` lazily."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint
from time import perf_counter
from typing import Protocol

from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.salt import new_salt, salted
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sharing import Sharing, digest
from llmbench_locust.workload.system_prompt import with_system_prompt
from llmbench_locust.workload.tokenizer import Tokenizer

#: Workloads of more requests, and endless ones, are made while they are sent. The second limit is
#: for workloads that a duration limits.
MADE_AHEAD, MADE_AHEAD_TIMED = 10_000, 1_000
#: Requests made before the first is sent, and the most seconds that this may take.
FIRST, FIRST_S = 4096, 1.0
#: Requests that are made at once.
BATCH = 256


class Requests(Protocol):
    """What a dataset's ``stream`` returns; picklable. ``total``: None if endless."""

    total: int | None

    def take(self, n: int, progress: Progress = silent) -> list[SampleRequest]:
        """Up to ``n`` more; none at the end."""

    @property
    def fingerprint(self) -> bytes:
        """Equal for equal requests."""

    def sharing(self, sent: int) -> Sharing:
        """What the first ``sent`` prompts share."""


class Stream:
    """The requests of a run. ``first``: those already made. ``salt``: None for no salt, "" for a
    different salt in each prompt.
    """

    def __init__(self, requests: Requests, config: RunConfig, tokenizer: Tokenizer) -> None:
        self.total = requests.total
        self._requests, self._config, self._tokenizer = requests, config, tokenizer
        self.salt: str | None = None
        self.first: list[SampleRequest] = []
        began = perf_counter()
        while len(self.first) < FIRST and perf_counter() - began < FIRST_S:
            self.first += (some := self.take(BATCH))
            if not some:
                break
        self.digest = hashlib.sha256(
            digest(self.first[:BATCH]).encode() + requests.fingerprint
        ).hexdigest()

    def take(self, n: int) -> list[SampleRequest]:
        """Up to ``n`` more; none at the end."""
        made = self._requests.take(n)
        samples = with_system_prompt(made, self._config, self._tokenizer)
        return samples if self.salt is None else self._salted(samples)

    def salt_all(self, salt: str) -> None:
        """Salt ``first`` and all requests taken from now on."""
        self.salt = salt
        self.first = self._salted(self.first)

    def sharing(self, sent: int) -> Sharing:
        """What the first ``sent`` prompts share, apart from a system prompt and a salt."""
        return self._requests.sharing(sent)

    def rest(self) -> Stream:
        """This stream without the requests already made, for another process."""
        rest = object.__new__(Stream)
        rest.__dict__ = {**self.__dict__, "first": []}
        return rest

    def _salted(self, samples: list[SampleRequest]) -> list[SampleRequest]:
        return salted(samples, [self.salt or new_salt() for _ in samples], self._tokenizer)


def stream_of(config: RunConfig, tokenizer: Tokenizer | None) -> Stream | None:
    """The requests of a run as a stream; None if all are made before the first is sent."""
    where = "" if config.mix else config.dataset.stream
    most = MADE_AHEAD if config.duration_s is None else MADE_AHEAD_TIMED
    if not where or tokenizer is None or not (config.endless or config.num_prompts > most):
        return None
    answers = config.check_answers or config.expect_same_as
    if answers or config.structured_output or config.tool_choice:
        return None  # these need all requests at once
    make = EntryPoint(config.dataset.name, where, "").load()
    requests = make(config, tokenizer, None if config.endless else config.num_prompts)
    return None if requests is None else Stream(requests, config, tokenizer)
