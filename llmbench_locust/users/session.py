"""Shared by the users of a process: protocol, transport, events. Turns a request into a record."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypedDict

import gevent
import numpy as np
from locust import User
from locust.env import Environment
from numpy.typing import NDArray

from llmbench_locust.locust_seam import listened
from llmbench_locust.records import CANCELLED, NAN, RequestRecord
from llmbench_locust.redact import without_user
from llmbench_locust.transport.client import Transport
from llmbench_locust.transport.decoding import FirstToken, Tokens
from llmbench_locust.transport.exchange import Exchange, Limit, Request
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.users.patience import Patience, joined
from llmbench_locust.users.protocols import protocol_for
from llmbench_locust.users.replicas import Replicas
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest

logger = logging.getLogger(__name__)


def servers_of(wire: WireConfig, gaps: Gaps | None = None) -> Replicas:
    """The connections to the servers of ``wire``. ``gaps``: as `Transport` takes it."""
    transports = [
        Transport(
            url,
            insecure=wire.insecure,
            kernel_timestamps=wire.kernel_timestamps,
            request_timeout_s=wire.request_timeout_s,
            gaps=gaps,
        )
        for url in wire.base_urls
    ]
    return Replicas(transports, wire.balance)


class Listeners(TypedDict):
    on_first_token: FirstToken | None
    on_tokens: Tokens | None


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """The plan's data about a request. ``request``: encoded in advance, None to encode it now.
    ``due_time``: seconds of perf_counter; NaN without a plan. ``then``: called with its outcome
    before any listener.
    """

    index: int = -1
    model: str = ""
    request: Request | None = None
    due_time: float = NAN
    then: Callable[[RequestRecord], None] | None = None


class Session:
    """``servers``: existing connections; None opens new ones. ``retry_after``: that header of the
    latest failed response.
    """

    def __init__(
        self,
        environment: Environment,
        wire: WireConfig,
        worker: str = "",
        servers: Replicas | None = None,
    ) -> None:
        self.environment = environment
        self.wire = wire
        self.worker = worker
        self.protocol = protocol_for(wire.backend)(wire)
        self.servers = servers or servers_of(wire)
        self.retry_after = ""
        self._echoes: dict[int, str] = {}
        self._ttft_s = array("d")

    def take_ttft(self) -> array[float]:
        """TTFT in seconds of each response that has begun since the last call."""
        taken, self._ttft_s = self._ttft_s, array("d")
        return taken

    def perform(
        self,
        sample: SampleRequest,
        entry: PlanEntry = PlanEntry(),
        *,
        user: User | None = None,
        quiet: bool = False,
        give_up: bool = False,
    ) -> RequestRecord:
        """Send one request and read its response. Blocks; server errors raise nothing.

        ``quiet``: fires no event (ready check, warm-up). If the greenlet is killed meanwhile, it
        returns a record of the kind "interrupted"; with ``quiet`` or ``give_up`` it just ends.
        """
        began = perf_counter()
        on_first = on_tokens = None
        if not quiet:
            on_first = partial(self._first_token, sample, began, user)
            if listened(self.environment.events, "llm_tokens"):
                on_tokens = partial(self._tokens, sample, user)
        try:
            request = entry.request or self.protocol.request(sample, entry.model)
            self._echo(sample, request)
            listeners: Listeners = {"on_first_token": on_first, "on_tokens": on_tokens}
            attempt = partial(self._attempt, sample, request, entry.index, listeners)
            record = attempt(None) if quiet else self._attempts(attempt, entry.index)
        except gevent.GreenletExit:
            if quiet or give_up:
                raise
            record = self._unfinished(
                sample, entry.index, began, "interrupted", "interrupted before it ended"
            )
        except Exception as error:
            # A protocol raised (a user's own, or for an unsupported sample): only this request
            # fails.
            logger.exception("a request could not be built")
            reason = f"{type(error).__name__}: {error}"
            record = self._unfinished(sample, entry.index, began, "client", reason)
        record.worker = self.worker
        record.due_time = entry.due_time
        if entry.due_time == entry.due_time:
            record.client_queue_time = max(0.0, record.start_time - entry.due_time)
        if entry.then is not None:
            entry.then(record)
        if not quiet:
            self._fire(record, user)
        return record

    def _attempt(
        self,
        sample: SampleRequest,
        request: Request,
        index: int,
        listeners: Listeners,
        limit: Limit | None,
        number: int = 0,
    ) -> RequestRecord:
        """``number``: of the attempt, counted from 0."""
        place = self.servers.choose(index + number, sample)
        sink = self.protocol.sink(sample)
        exchange = self.servers.transports[place].exchange(request, sink, limit=limit, **listeners)
        self._listen(sample, exchange)
        record = self.protocol.record(index, sample, exchange, sink)
        if not record.success:
            self.retry_after = exchange.headers.get("retry-after", "")
        if len(self.wire.base_urls) > 1:
            record.server = without_user(self.wire.base_urls[place])
        return record

    def _attempts(
        self, attempt: Callable[[Limit | None, int], RequestRecord], index: int
    ) -> RequestRecord:
        """The outcome of one attempt, or of several with retries."""
        began, patience = perf_counter(), Patience(self.wire, index)
        attempts = [attempt(patience.limit(0.0), 0)]
        while (pause_s := patience.pause_s(attempts, perf_counter() - began)) is not None:
            gevent.sleep(pause_s)
            limit = patience.limit(perf_counter() - began)
            attempts.append(attempt(limit, len(attempts)))
        return joined(attempts)

    def _echo(self, sample: SampleRequest, request: Request) -> None:
        """Send back the session's header from the server (``--session-echo``)."""
        value = self._echoes.get(-1 if sample.conversation is None else sample.conversation)
        if value is not None:
            request.headers[self.wire.session_echo] = value

    def _listen(self, sample: SampleRequest, exchange: Exchange) -> None:
        """Store the session's header from its first response."""
        if self.wire.session_echo and sample.conversation is not None:
            value = exchange.headers.get(self.wire.session_echo.lower())
            if value is not None:
                self._echoes.setdefault(sample.conversation, value)

    def forget(self, conversation: int | None) -> None:
        """Drop the header of a session that is over."""
        if conversation is not None:
            self._echoes.pop(conversation, None)

    def close(self) -> None:
        self.servers.close()

    def _unfinished(
        self, sample: SampleRequest, index: int, began: float, kind: str, error: str
    ) -> RequestRecord:
        record = sample.record(index)
        record.start_time, record.end_time = began, perf_counter()
        record.error_kind, record.error = kind, error
        return record

    def _first_token(
        self, sample: SampleRequest, began: float, user: User | None, time_s: float
    ) -> None:
        self._ttft_s.append(time_s - began)
        if listened(self.environment.events, "llm_first_token"):
            self.environment.events.llm_first_token.fire(
                request_id=sample.request_id, time_s=time_s, user=user
            )

    def _tokens(
        self, sample: SampleRequest, user: User | None, times_s: NDArray[np.float64]
    ) -> None:
        self.environment.events.llm_tokens.fire(
            request_id=sample.request_id, times_s=times_s, user=user
        )

    def _fire(self, record: RequestRecord, user: User | None) -> None:
        events = self.environment.events
        if listened(events, "llm_request"):
            events.llm_request.fire(record=record, user=user)
        elapsed_s = record.last_time - record.start_time
        cancelled = record.error_kind == CANCELLED
        failed = not record.success and not cancelled
        events.request.fire(
            request_type="POST",
            name=f"{self.wire.backend} (cancelled)" if cancelled else self.wire.backend,
            response_time=elapsed_s * 1000 if elapsed_s == elapsed_s else 0.0,
            response_length=max(record.output_len, 0),
            exception=RequestFailed(record.error_kind, record.error) if failed else None,
            context=user.context() if user is not None else {},
        )


class RequestFailed(Exception):
    """A failure for Locust's statistics: equal kind and message count as one error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
