"""Untimed control requests before and after the run: models, profiler, metrics, tokenizer."""

from __future__ import annotations

import re
import socket
import ssl
from errno import ECONNREFUSED, EHOSTUNREACH, ENETUNREACH
from time import perf_counter, sleep

import gevent
import requests

from llmbench_locust.errors import SetupError, cause_of
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.secrets import origin_of
from llmbench_locust.redact import redacted, without_user
from llmbench_locust.server_metrics.reading import NotMetricsError, parse
from llmbench_locust.server_session import ServerSession
from llmbench_locust.transport.connection import describe
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.users.protocols.server_errors import message_of

TIMEOUT_S = 30.0
#: A metrics page that hangs must not delay a run; a busy server may take longer to answer.
METRICS_TIMEOUT_S, BUSY_TIMEOUT_S = 1.0, 5.0
#: Timeout of the check whether the server is gone, and the errors that show that nothing listens.
GONE_S = 5.0
_NOT_LISTENING = (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH)
#: Paths that empty caches (vLLM in development mode, SGLang): the prefix cache's, then those of
#: related caches.
RESETS = (
    ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"),
    ("/flush_cache",),
)
#: How long a server may hold blocks of finished requests.
RESET_S = 2.0


class NotAnswered(SetupError):
    """A control request failed. ``kind``, ``status``: as in `RequestRecord`; -1 for no status."""

    def __init__(self, message: str, kind: str, status: int = -1) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


class _SameOriginSession(ServerSession):
    """Does not send its headers, which may be secrets, to another origin after a redirect."""

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        if origin_of(str(response.request.url)) != origin_of(str(prepared_request.url)):
            for name in self.headers:
                prepared_request.headers.pop(name, None)
            prepared_request.headers.pop("Authorization", None)  # from a user in the URL


class Server:
    """``base_url``: scheme, host, port. ``api_key``: sent as a bearer token."""

    def __init__(
        self, base_url: str, headers: dict[str, str], api_key: str = "", *, insecure: bool = False
    ) -> None:
        self.base_url = base_url
        self._session = _SameOriginSession(base_url, insecure=insecure)
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._session.headers.update(headers)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def models(self) -> list[str]:
        """The ids that /v1/models lists, at least one. Raises NotAnswered."""
        url = f"{without_user(self.base_url)}/v1/models"
        try:
            answer = self._ask("GET", "/v1/models")
            if not answer.ok:
                raise NotAnswered(
                    f"{url} answered {answer.status_code}: {_server_message(answer)}",
                    f"http_{answer.status_code}",
                    answer.status_code,
                )
            ids = [str(model["id"]) for model in answer.json()["data"]]
        except requests.JSONDecodeError as e:
            raise NotAnswered(f"{url} did not answer with JSON", "protocol", 200) from e
        except requests.RequestException as e:
            raise NotAnswered(*_unanswered(e, self.base_url)) from e
        except (ValueError, LookupError, TypeError) as e:
            raise NotAnswered(f"{url} lists no models", "protocol", 200) from e
        if not ids:
            raise NotAnswered(f"{url} lists no models", "protocol", 200)
        return ids

    def loading(self) -> bool:
        """Whether the server says that it is still loading its model: /health is not 200."""
        try:
            answer = self._ask("GET", "/health", 5.0)
            if answer.status_code in (404, 405):
                answer = self._ask("GET", "/v1/models", 5.0)
        except requests.RequestException:
            return True
        return answer.status_code in (425, 429, 500, 502, 503, 504)

    def gone(self) -> bool:
        """Whether nothing listens there. A server that hangs or sends invalid HTTP is not gone."""
        try:
            self._ask("GET", "/health", GONE_S)
        except requests.RequestException as e:
            return getattr(cause_of(e), "errno", None) in _NOT_LISTENING
        return False

    def profile(self, action: str) -> str:
        """POST /start_profile or /stop_profile; returns "" or what went wrong."""
        try:
            answer = self._ask("POST", f"/{action}_profile", 600.0)
        except requests.RequestException as e:
            return _brief(e)
        return "" if answer.ok else f"status {answer.status_code}"

    def metrics_text(self, timeout_s: float = METRICS_TIMEOUT_S) -> str | None:
        """The server's Prometheus text, None if it has none."""
        try:
            answer = self._ask("GET", "/metrics", timeout_s)
        except requests.RequestException:
            return None
        return answer.text if answer.ok else None

    def requests_left(self) -> int | None:
        """Number of requests running or queued on the server, None if its metrics do not say."""
        try:
            values = parse(self.metrics_text(BUSY_TIMEOUT_S) or "", perf_counter()).values
        except NotMetricsError:
            return None
        found = [values[name] for name in ("running", "waiting") if name in values]
        return int(sum(found)) if found else None

    def reset_cache(self) -> str:
        """Empty the prefix cache and related caches; returns "" or why it failed. Retries, because
        blocks may still be in use for a moment after the last response.
        """
        ends = perf_counter() + RESET_S
        for path, *siblings in RESETS:
            error = self._reset(path)
            while error and perf_counter() < ends:
                sleep(0.1)
                error = self._reset(path)
            for sibling in siblings if error == "" else ():
                self._reset(sibling)
            if error is not None:
                return error
        return "the server offers no way to empty it"

    def _reset(self, path: str) -> str | None:
        """ "" if it was done, else why not; None if the server has no such path."""
        try:
            answer = self._ask("POST", path)
        except requests.RequestException as e:
            return _brief(e)
        if answer.status_code in (404, 405):
            return None
        done = answer.ok and '"success":false' not in answer.text.replace(" ", "")
        return "" if done else f"{path} answered {answer.status_code} without resetting it"

    def tokenize(self, model: str, text: str) -> list[int] | None:
        """The server's token ids of a text without special tokens, None if it cannot tokenize."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        answer = self._post("/tokenize", body)
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        return ids if isinstance(ids, list) else None

    def detokenize(self, model: str, ids: list[int]) -> str | None:
        answer = self._post("/detokenize", {"model": model, "tokens": ids})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        return text if isinstance(text, str) else None

    def _ask(
        self, method: str, path: str, timeout_s: float = TIMEOUT_S, json: Json | None = None
    ) -> requests.Response:
        """The response. Raises RequestException.

        The library restarts its timeout with each byte, and a server may send interim responses
        forever.
        """
        with gevent.Timeout(timeout_s, requests.Timeout()):
            return self._session.request(method, self.base_url + path, json=json, timeout=timeout_s)

    def _post(self, path: str, body: Json) -> JsonValue:
        try:
            answer = self._ask("POST", path, json=body)
            return answer.json() if answer.ok else None
        except (requests.RequestException, ValueError):
            return None


def _unanswered(error: requests.RequestException, base_url: str) -> tuple[str, str]:
    """(message, kind) of a request that got no response."""
    cause = cause_of(error)
    url = base_url if error.request is None else str(error.request.url)  # after a redirect
    endpoint = parse_endpoint(url)
    if isinstance(cause, socket.gaierror):
        return f"cannot resolve {endpoint.dial_host}: {cause.strerror}", "dns"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"cannot connect to {endpoint.name}: {describe(cause)}", "connect"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return describe(cause), "tls"
    if isinstance(cause, ssl.SSLError) or isinstance(error, requests.exceptions.SSLError):
        return f"TLS failed: {cause}", "tls"
    if isinstance(error, requests.Timeout):
        return f"timed out after {TIMEOUT_S:g} s", "timeout"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower(), "connect"
    return _brief(error), "connect"


def _server_message(answer: requests.Response) -> str:
    """The server's own message, on one line."""
    return redacted(message_of(answer.content) or str(answer.reason))


def _brief(error: Exception) -> str:
    """The error on one line, without memory addresses."""
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
