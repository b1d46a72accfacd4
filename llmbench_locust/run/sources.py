"""Where a run's requests come from: a plan of the workload, or the users' own tasks."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.backends import backend_info
from llmbench_locust.dispatch.backlog import Listed, RunPlan, Supply
from llmbench_locust.dispatch.ledger import Indexes
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.errors import BenchError, ConfigError, SetupError
from llmbench_locust.metrics.facts import AnswerKey
from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.ahead import StreamedTickets
from llmbench_locust.run.align import aligned, differing_count
from llmbench_locust.run.answer_key import answer_key
from llmbench_locust.run.control_api import Server
from llmbench_locust.run.crew import Crew
from llmbench_locust.run.loading import in_thread, load_workload
from llmbench_locust.run.schedule import (
    connections_ahead,
    lora_models,
    make_tickets,
    planned_offsets,
)
from llmbench_locust.run.wiring import for_workers, wire_config
from llmbench_locust.terminal import Status
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.transport.pool import check_files
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.salt import new_salt, salted
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.sharing import Sharing, digest, sharing
from llmbench_locust.workload.stream import Stream
from llmbench_locust.workload.tokenizer import Tokenizer
from llmbench_locust.workload.tokenizers import load_tokenizer

#: Maximum number of users. They only send tickets; overflow greenlets send what they cannot.
MOST_USERS = 10_000
#: By the index of each request: tokens of the prompt as it was sent, and of the response.
Sizes = Mapping[int, tuple[int, int]]


class Source:
    """The interface of both kinds; the defaults are those of a source without prompts.

    ``tokenizer`` counts responses whose length the server does not report; None without one.
    ``total``: requests, None if unknown. ``users``: how many to spawn; 0 leaves it to
    Locust. ``due_s``: due times of the plan in seconds, ascending (float64), sessions by their
    first request. ``rehearsal``: a typical request for the ready check, None if there is none.
    ``prompts``: the digest of the prompts, "" without a plan.
    ``answers``: what responses are checked against. ``turns``: requests by session; a session that
    is missing has one. None without a plan.
    """

    def __init__(self) -> None:
        self.tokenizer: Tokenizer | None = None
        self.total: int | None = None
        self.users = 0
        self.due_s: NDArray[np.float64] = np.empty(0)
        self.rehearsal: SampleRequest | None = None
        self.prompts = ""
        self.answers = AnswerKey()
        self.turns: Mapping[int, int] | None = None

    def settle(self, config: RunConfig) -> RunConfig:
        """``config`` with what this source determines."""
        return config

    def load(self, config: RunConfig, say: Callable[[str], None]) -> None:
        """Do all slow work that needs no server. Raises ConfigError, SetupError."""
        raise NotImplementedError

    def align(self, config: RunConfig, server: Server, say: Callable[[str], None]) -> None:
        """Align the prompts with the server's tokenizer, once it is ready."""

    def skip(self, done: Indexes) -> None:
        """Skip these finished requests; the next one is due at once. Raises ConfigError."""

    def can_be_salted(self, config: RunConfig) -> bool:
        """Whether there are prompts to salt, and a tokenizer to count with."""
        return False

    def salt(self, mode: str) -> str | None:
        """Salt the prompts, for the ``run`` or each ``conversation``; returns that of the run."""
        return None

    def plan(self, config: RunConfig, crew: Crew, latency_s: float | None) -> RunPlan:
        """The plan for the workers. ``latency_s``: of the ready check, None without one."""
        raise NotImplementedError

    def sharing(self, sizes: Sizes, *, prefixes: bool, rehearsed: bool) -> Sharing | None:
        """What the prompts have in common (`workload.sharing`); None without a plan."""
        return None


class Planned(Source):
    """Requests of the workload, each sent when due. A stream is made while it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self._tickets: list[Ticket] = []
        self._samples: list[SampleRequest] = []
        self._stream: Stream | None = None
        self._done: Indexes = np.empty(0, np.int64)

    def load(self, config: RunConfig, say: Callable[[str], None]) -> None:
        """Works in a separate thread, so that the web page stays responsive."""
        _import_first()
        self._load(config)
        for line in _greeting(config):
            say(line)

    def align(self, config: RunConfig, server: Server, say: Callable[[str], None]) -> None:
        if (
            self._stream is not None
            and differing_count(self._samples[0], config, server) is not None
        ):
            self._load(config, whole=True)
        if self._stream is None:
            samples = aligned(self._samples, config, server, say)
            if samples is not self._samples:
                self._samples = samples
                self._schedule(config)

    def _load(self, config: RunConfig, *, whole: bool = False) -> None:
        status = None if config.disable_tqdm else Status()
        loaded = in_thread(load_workload, config, status, whole=whole)
        self.tokenizer, self._samples, self._stream = loaded
        if not self._samples:
            raise SetupError("the workload is empty: nothing to send")
        self.rehearsal = self._samples[0]
        self._schedule(config)
        most = min(config.max_concurrency or MOST_USERS, MOST_USERS)
        self.users = most if self.total is None else min(self.total, most)

    def _schedule(self, config: RunConfig) -> None:
        """Make the schedule for the prompts."""
        if self._stream is None:
            self.prompts, self.total = in_thread(digest, self._samples), len(self._samples)
            self._tickets = make_tickets(config, self._samples)
            heads = [ticket for ticket in self._tickets if ticket.following]
            self.turns = {t.sample.conversation or 0: t.count for t in heads}
            self.due_s = np.array([ticket.due_s for ticket in self._tickets])
        else:
            self.prompts, self.total = self._stream.digest, self._stream.total
            self.due_s = np.zeros(len(self._samples))
            if self.total is not None:
                self.due_s = in_thread(planned_offsets, config, self.total)
        self.answers = answer_key(config, self._samples, self.prompts)

    def skip(self, done: Indexes) -> None:
        assert self.total is not None
        if any(ticket.following for ticket in self._tickets):
            raise ConfigError("--resume: a run with sessions cannot go on; use llmbench report")
        self._done, left = done, np.ones(self.total, np.bool_)
        left[done] = False
        if self._stream is not None:
            self.due_s = self.due_s - self.due_s[np.argmax(left)]
            return
        self._tickets = [ticket for ticket in self._tickets if left[ticket.index]]
        first_s = self._tickets[0].due_s
        for ticket in self._tickets:
            ticket.due_s -= first_s
        self.due_s = np.array([ticket.due_s for ticket in self._tickets])

    def can_be_salted(self, config: RunConfig) -> bool:
        return self.tokenizer is not None and config.backend_info.only != "audio"

    def salt(self, mode: str) -> str | None:
        """Works in a thread, after the digest, which describes the workload and not a run."""
        assert self.tokenizer is not None
        one = new_salt() if mode == "run" else None
        if self._stream is not None:
            in_thread(self._stream.salt_all, one or "")
            return one
        whose = (s.request_id if s.conversation is None else s.conversation for s in self._samples)
        own: defaultdict[str | int, str] = defaultdict(lambda: one or new_salt())
        self._samples = in_thread(salted, self._samples, [own[k] for k in whose], self.tokenizer)
        for ticket in self._tickets:
            for each in (ticket, *ticket.following):
                each.sample = self._samples[each.index]
        return one

    def plan(self, config: RunConfig, crew: Crew, latency_s: float | None) -> RunPlan:
        wire = wire_config(config, turns=any(s.turn and s.continues >= 0 for s in self._samples))
        return RunPlan(
            tickets=self._supply(config, crew),
            wires=[wire if crew.local else for_workers(wire, config)],
            cap=config.concurrent_sessions or config.max_concurrency,
            sessions=config.concurrent_sessions is not None,
            prewarm=self._connections_ahead(config, crew, latency_s),
            run_time_s=config.run_time_s,
            stop_timeout_s=config.stop_timeout_s or None,
            max_workers=crew.expected,
            chat=config.backend_info.chat,
            done=self._done,
        )

    def sharing(self, sizes: Sizes, *, prefixes: bool, rehearsed: bool) -> Sharing | None:
        if self._stream is not None:
            return self._stream.sharing(len(sizes))
        planned = [t for ticket in self._tickets for t in (ticket, *ticket.following)]
        known = [sizes.get(ticket.index, (0, 0)) for ticket in planned]
        samples = [ticket.sample for ticket in planned]
        return sharing(samples, prefixes=prefixes, rehearsed=rehearsed, sizes=known)

    def _supply(self, config: RunConfig, crew: Crew) -> Supply:
        if self._stream is None:
            return Listed(self._tickets, self.total)
        due_s = None if self.total is None else self.due_s
        return StreamedTickets(
            self._stream, due_s, lora_models(config, count()), crew.gaps, self._done
        )

    def _connections_ahead(self, config: RunConfig, crew: Crew, latency_s: float | None) -> int:
        if config.prewarm_connections is not None:
            return min(config.prewarm_connections, len(self.due_s))
        ahead = connections_ahead(self.due_s, config.max_concurrency, latency_s)
        check_files(-(-ahead // max(1, len(crew.workers()))))
        return ahead


class OwnTasks(Source):
    """Requests from the users' own tasks: a closed loop that ends when Locust stops the users."""

    #: Workers may join at any time: Locust assigns users to them.
    MOST_WORKERS = 100_000

    def __init__(self, backends: Sequence[str]) -> None:
        super().__init__()
        self.rehearsal = SampleRequest("Hello", 1, 1, "ready")
        self._backends = backends

    def settle(self, config: RunConfig) -> RunConfig:
        for name in ("capacity", "repeat", "dry_run"):
            if int(getattr(config, name)) > (name == "repeat"):
                raise ConfigError(
                    f"--{name.replace('_', '-')}: needs prompts of a dataset, not tasks of your own"
                )
        if config.cache_bust != "none":
            raise ConfigError(
                f"--cache-bust: {config.cache_bust} is for prompts of a dataset, not for tasks of "
                "your own"
            )
        return _speaking(config, self._backends[0])

    def load(self, config: RunConfig, say: Callable[[str], None]) -> None:
        if config.backend_info.only:
            self.rehearsal = None
        _import_first()
        try:
            self.tokenizer = in_thread(load_tokenizer, config)
        except BenchError as e:
            if config.tokenizer is not None:
                raise
            say(f"No tokenizer: output tokens are the server's counts only ({e})")

    def plan(self, config: RunConfig, crew: Crew, latency_s: float | None) -> RunPlan:
        return RunPlan(
            tickets=Listed(),
            wires=[_wire(_speaking(config, name), local=crew.local) for name in self._backends],
            stop_timeout_s=crew.environment.stop_timeout or None,
            max_workers=self.MOST_WORKERS,
            tasks=True,
            id_prefix=config.request_id_prefix,
        )


def _import_first() -> None:
    """Import modules that start a process when imported: gevent allows it only in the main thread.

    The clients of model hubs import trio if it is installed.
    """
    if importlib.util.find_spec("trio") is not None:
        importlib.import_module("trio")


def _speaking(config: RunConfig, backend: str) -> RunConfig:
    if backend == config.backend:
        return config
    info = backend_info(backend)
    return replace(config, backend=backend, backend_info=info, endpoint=info.endpoint)


def _wire(config: RunConfig, *, local: bool) -> WireConfig:
    """The users' configuration, with the texts of the responses."""
    wire = replace(wire_config(config), keep_text=True)
    return wire if local else for_workers(wire, config)


def _greeting(config: RunConfig) -> list[str]:
    if config.ramp_up_strategy is not None:
        lines = [
            f"Traffic ramp-up strategy: {config.ramp_up_strategy}.",
            f"Will increase RPS from {config.ramp_up_start_rps} to "
            f"{config.ramp_up_end_rps} RPS over the benchmark.",
        ]
    else:
        lines = [f"Traffic request rate: {config.request_rate}"]
    kind = "Poisson process" if config.burstiness == 1.0 else "Gamma distribution"
    endpoints = (parse_endpoint(url) for url in config.base_urls)
    proxies = dict.fromkeys(endpoint.name for endpoint in endpoints if endpoint.proxied)
    lines += [f"warning: requests go through {name}, which adds to latencies" for name in proxies]
    return [
        *lines,
        f"Burstiness factor: {config.burstiness} ({kind})",
        f"Maximum request concurrency: {config.max_concurrency}",
    ]
