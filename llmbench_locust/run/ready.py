"""Ready check and warm-up, before the clock starts.

One request is sent until it succeeds, then the warm-ups. Only transient errors are retried: a
server that starts, restarts or is full. A wrong key, model, path, scheme or host ends the run at
once, with the server's message and a hint.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import gevent
import gevent.socket
from gevent.pool import Pool

from llmbench_locust.errors import SetupError
from llmbench_locust.records import RequestRecord
from llmbench_locust.redact import without_user
from llmbench_locust.run.control_api import NotAnswered, Server
from llmbench_locust.run.wiring import key_variable
from llmbench_locust.terminal import Status
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.users.protocols.base import CUT
from llmbench_locust.users.session import Session
from llmbench_locust.workload.sample import SampleRequest

#: Seconds between two tries.
RETRY_S = 2.0

_TRANSIENT_KINDS = {"connect", "timeout", "cut"}
_UNANSWERED = {*_TRANSIENT_KINDS, "dns", "tls"}
_TRANSIENT_STATUS = {429, 502, 503, 504}
#: Statuses that a server may also send while it loads the model.
_MAYBE_LOADING = {404, 500}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was not served. ``transient``: whether a later try may succeed. ``after_s``:
    the delay that the server asks for.
    """

    text: str
    transient: bool
    after_s: float = 0.0


class Waiting:
    """Tries something until it succeeds, for at most ``timeout_s``, and says what it waits for.

    ``tell`` is called with each line, for the web page.
    """

    def __init__(self, base_url: str, timeout_s: float, tell: Callable[[str], None]) -> None:
        self.origin = without_user(base_url)
        self.timeout_s = timeout_s
        self._tell = tell
        self._began = perf_counter()
        self._status = Status(0.0)

    def until(self, attempt: Callable[[float], T | Problem]) -> T:
        """The first result of ``attempt`` (called with the seconds left) that is no Problem.

        Raises SetupError for a problem that cannot heal, or after ``timeout_s``.
        """
        try:
            while True:
                found = attempt(max(self._left(), 0.05))
                if not isinstance(found, Problem):
                    return found
                if not found.transient:
                    raise SetupError(found.text)
                if self._left() <= 0:
                    raise SetupError(
                        f"{self.origin} was not ready after {self.timeout_s:g} s "
                        f"(--ready-check-timeout-sec): {found.text}"
                    )
                self._pause(found)
        finally:
            self._status.clear()

    def _pause(self, problem: Problem) -> None:
        """Sleep until the next try, and show why."""
        pause_s = min(RETRY_S, max(0.2, self.timeout_s / 20))
        ends = perf_counter() + min(self._left(), max(pause_s, problem.after_s))
        while (left := ends - perf_counter()) > 0:
            self._say(problem.text)
            gevent.sleep(min(left, pause_s))

    def _left(self) -> float:
        return self.timeout_s - (perf_counter() - self._began)

    def _say(self, reason: str) -> None:
        elapsed = perf_counter() - self._began
        spent = f"{elapsed:.0f} s of {self.timeout_s:.0f} s"
        line = f"Waiting for {self.origin} ({spent}): {reason}"
        self._tell(line)
        self._status.show(line)


def wait_for_model(server: Server, waiting: Waiting, backend: str) -> str:
    """The first model that the server lists. Raises SetupError."""

    def attempt(left_s: float) -> str | Problem:
        try:
            return server.models()[0]
        except NotAnswered as e:
            problem = _unlisted(e, server.base_url, backend)
            if problem.transient and waiting.timeout_s <= 0:
                return Problem(f"{waiting.origin}: {problem.text}", False)
            return problem

    return waiting.until(attempt)


def _unlisted(error: NotAnswered, base_url: str, backend: str) -> Problem:
    """Why the server lists no model; connection errors are treated as for a request."""
    if error.kind in _UNANSWERED:
        return _no_answer(error.kind, str(error), base_url)
    if error.status in (401, 403):
        return Problem(_sentences(str(error), _key_hint(backend, base_url)), False)
    text = f"--model was not given and {error}; give --model"
    return Problem(text, error.status in _TRANSIENT_STATUS)


def wait_until_ready(
    session: Session, sample: SampleRequest, server: Server, waiting: Waiting
) -> float | None:
    """Send ``sample`` until it succeeds; a timeout of 0 skips the check.

    Returns how long the successful request took, in seconds. Raises SetupError.
    """
    if waiting.timeout_s <= 0:
        return None

    def attempt(left_s: float) -> float | Problem:
        try:
            with gevent.Timeout(left_s):
                record = session.perform(sample, quiet=True)
        except gevent.Timeout:
            return Problem(f"no response within {waiting.timeout_s:g} s", True)
        if record.success:
            return record.end_time - record.start_time
        return problem_of(record, session, server)

    return waiting.until(attempt)


def problem_of(record: RequestRecord, session: Session, server: Server) -> Problem:
    """What a failed request says about the server, in one line."""
    wire = session.wire
    origin = without_user(wire.base_urls[0])
    url = f"{origin}{wire.endpoint}"
    kind, status = record.error_kind, record.status
    if kind.startswith("http_"):
        transient = status in _TRANSIENT_STATUS or (status in _MAYBE_LOADING and server.loading())
        hint = "" if transient else _hint(status, wire.backend, wire.model, server)
        text, after_s = _sentences(f"{url} answered {status}: {record.error}", hint), 0.0
        if transient and (after_s := _seconds(session.retry_after)):
            text += f" (Retry-After: {after_s:g} s)"
        return Problem(text, transient, after_s)
    if kind == "protocol" or record.error == CUT:
        return Problem(f"{url} did not answer as --backend {wire.backend}: {record.error}", False)
    if kind in _UNANSWERED:
        return _no_answer(kind, record.error, wire.base_urls[0])
    return Problem(f"{url}: {record.error}", False)


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header; 0 for a date or no header."""
    return float(retry_after) if re.fullmatch(r"\d{1,6}(\.\d+)?", retry_after) else 0.0


def _no_answer(kind: str, error: str, base_url: str) -> Problem:
    """The problem of a request without a complete response. DNS and TLS errors are permanent."""
    if kind == "tls" and "certificate" not in error.lower():
        return Problem(_sentences(error, "Does it need http:// instead of https://?"), False)
    if kind in ("connect", "cut") and base_url.startswith("http:") and _speaks_tls(base_url):
        return Problem(f"{without_user(base_url)} speaks TLS; use https://", False)
    return Problem(_brief(error), kind in _TRANSIENT_KINDS)


def _sentences(text: str, hint: str) -> str:
    """``text`` as a sentence before ``hint``; unchanged if there is no hint."""
    if not hint:
        return text
    return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'}  {hint}"


def _key_hint(backend: str, base_url: str) -> str:
    if parse_endpoint(base_url).auth:
        return "The server refuses the user and password in the URL, which replace any key"
    name = key_variable(backend)
    state = "it is set, but the server refuses it" if os.environ.get(name) else "it is not set"
    return f"Set {name} ({state})"


def _hint(status: int, backend: str, model: str, server: Server) -> str:
    """What the user can do about an error status; "" if unknown."""
    if status in (401, 403):
        return _key_hint(backend, server.base_url)
    if status in (404, 405):
        try:
            models = server.models()
        except NotAnswered:
            return "Check --base-url, --endpoint and --backend"
        if model not in models:
            return f"The server has: {', '.join(models)}"
        return "Check --endpoint and --backend"
    return ""


def _brief(error: str) -> str:
    """A connection error without the address, which is in the line already."""
    if error.startswith("cannot connect to") and not error.startswith("cannot connect to proxy"):
        return error.rsplit(": ", 1)[-1].lower()
    return error


def _speaks_tls(base_url: str) -> bool:
    """Whether a TLS handshake with the server succeeds; tried after plain HTTP failed."""
    endpoint = parse_endpoint(base_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (endpoint.host, endpoint.port)
    try:
        with (
            gevent.socket.create_connection(address, timeout=2) as sock,
            context.wrap_socket(sock, server_hostname=endpoint.host),
        ):
            return True
    except (OSError, ValueError):
        return False


def warm_up(
    session: Session, sample: SampleRequest, count: int, cap: int | None, *, bar: bool
) -> None:
    """Send ``count`` unmeasured requests under the concurrency limit. ``bar``: show progress."""
    pool, status = Pool(min(count, cap or count, 256)), Status()
    records = pool.imap_unordered(lambda _: session.perform(sample, quiet=True), range(count))
    for done, _ in enumerate(records, 1):
        if bar:
            status.show(f"Warm-up: {done}/{count}")
    status.clear()
