"""Routes generation requests to a job on the clock, all others to the views of control.py."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import orjson

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, Refusal, json_body, read_form
from llmbench_locust.simulator.counting import load_tokenizer, make_counter
from llmbench_locust.simulator.engine.fault_filter import FaultFilter
from llmbench_locust.simulator.engine.job import Job
from llmbench_locust.simulator.engine.latency_models import Clock, EngineClock, FixedClock
from llmbench_locust.simulator.engine.outlet import Outlet
from llmbench_locust.simulator.engine.planning import job_seed, make_plan
from llmbench_locust.simulator.engine.prefix_cache import PrefixCache
from llmbench_locust.simulator.engine.text import prompt_sha
from llmbench_locust.simulator.engine.wheel import Wheel
from llmbench_locust.simulator.faults import NONE, Faults, header_faults
from llmbench_locust.simulator.protocols import ROUTES
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.server.control import Reply, control_views, json_reply
from llmbench_locust.simulator.server.metrics_page import metrics_views
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import PowerMeter, Seen, Stats, header_subset

if TYPE_CHECKING:
    import socket
    from wsgiref.types import StartResponse

_MESSAGES = {
    429: "Rate limit exceeded: too many requests.",
    503: "The server is overloaded or not ready yet.",
}
Answer = Iterable[bytes]


class Connection(Protocol):
    """What the application needs from the connection's handler (`sim.handler` in the environ)."""

    arrived_s: float
    socket: socket.socket
    job: Job | None
    drop: bool  # close without a response


def make_clock(settings: Settings, wheel: Wheel) -> Clock:
    if settings.clock == "fixed":
        return FixedClock(wheel, settings.ttft_s, settings.itl_s, settings.jitter)
    return EngineClock(wheel, settings)


class Simulator:
    """The WSGI application with its state, one per process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        power = PowerMeter(settings.gpu_idle_w, settings.gpu_request_w, time.monotonic())
        self.stats = Stats(settings.keep, settings.log, power)
        blocks = settings.prefix_cache
        self.cache = PrefixCache(blocks, settings.block_size) if blocks else None
        self.wheel = Wheel()
        self.clock = make_clock(settings, self.wheel)
        tokenizer = load_tokenizer()
        self.count = make_counter(tokenizer, by_words=settings.count == "words")
        self._views = {
            **control_views(settings, self.stats, self.wheel, tokenizer),
            **metrics_views(settings, self.stats, self.clock, self.cache),
        }
        self._draw = random.Random(settings.seed).random

    def __call__(self, environ: Json, start_response: StartResponse) -> Answer:
        path = environ["PATH_INFO"]
        protocol = ROUTES.get(path)
        if not self._authorized(environ, path):
            return _respond(start_response, 401, orjson.dumps({"error": "Unauthorized"}))
        if protocol is not None and environ["REQUEST_METHOD"] == "POST":
            return self._generate(environ, start_response, protocol)
        return _respond(start_response, *self._view(environ, path))

    def _view(self, environ: Json, path: str) -> Reply:
        view = self._views.get(path, {}).get(environ["REQUEST_METHOD"])
        if view is None:
            known = path in self._views or path in ROUTES
            detail, status = ("Method Not Allowed", 405) if known else ("Not Found", 404)
            return json_reply({"detail": detail}, status)
        try:
            return view(environ)
        except Refusal as refusal:
            return json_reply(refusal.body(), refusal.status)

    def _authorized(self, environ: Json, path: str) -> bool:
        key = self.settings.api_key
        if key is None or path in ("/health", "/ping") or path.startswith("/sim/"):
            return True
        bearer = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        return key in (bearer, environ.get("HTTP_X_API_KEY", ""))

    def _generate(
        self, environ: Json, start_response: StartResponse, protocol: type[Script]
    ) -> Answer:
        handler: Connection = environ["sim.handler"]
        seen = Seen(
            t=handler.arrived_s,
            path=environ["PATH_INFO"],
            request_id=environ.get("HTTP_X_REQUEST_ID", "") or uuid.uuid4().hex,
            headers=header_subset(environ),
        )
        try:
            faults = self._faults(environ)
            ask = self._ask(environ, protocol, faults)
            seen.sha = prompt_sha(ask.prompt)
            seed = job_seed(self.settings, seen.sha)
            plan = make_plan(ask, self.settings, faults, seed)
        except Refusal as refusal:
            return self._refuse(start_response, seen, refusal, protocol)
        seen.prompt_tokens, seen.stream, seen.model = ask.prompt_tokens, ask.stream, ask.model
        if self.cache is not None and protocol.generates:
            units = self.count.units(ask.prompt)
            template = max(0, ask.prompt_tokens - len(units))
            ask.cached_tokens = seen.cached_tokens = self.cache.admit(units, template)
        ask.tell_times = self.settings.request_metrics
        seen.output_tokens = plan.tokens * ask.choices if protocol.generates else 0
        self.stats.begin(seen)
        if faults.error >= 0 and not ask.stream:
            faults = replace(faults, status=500)  # the engine died before a stream began
        if faults.answers_with_error:
            return self._fault_answer(environ, start_response, seen, faults)
        script = protocol(ask, plan, seen.request_id[:64], faults.usage_with_choices)
        job = Job(Outlet(handler.socket), script, seen, self.stats, seed)
        if faults is not NONE:
            job.filter = FaultFilter(faults, self.wheel)
        job.ttft_s = _milliseconds(environ, "HTTP_X_SIM_TTFT_MS")
        job.itl_s = _milliseconds(environ, "HTTP_X_SIM_ITL_MS")
        handler.job = job
        job.begin()
        self.clock.start(job)
        return ()

    def _faults(self, environ: Json) -> Faults:
        try:
            own = header_faults(environ)
        except ConfigError as error:
            raise Refusal(400, str(error)) from None
        if own is not None:
            return own
        faults, rate = self.settings.faults, self.settings.fault_rate
        return faults if faults is NONE or rate >= 1 or self._draw() < rate else NONE

    def _ask(self, environ: Json, protocol: type[Script], faults: Faults) -> Ask:
        raw = environ["wsgi.input"].read()
        if protocol.multipart:
            body = read_form(environ.get("CONTENT_TYPE", ""), raw)
        else:
            body = json_body(raw)
        ask = protocol.ask_of(body, self.count)
        settings = self.settings
        ask.model = str(body.get("model") or settings.model)
        if settings.strict_model and ask.model != settings.model:
            raise Refusal(404, f"The model `{ask.model}` does not exist.", "NotFoundError", "model")
        if protocol.streams(body, environ["PATH_INFO"]):
            ask.stream = True
        else:
            ask.include_usage = True
        ask.dimensions = ask.dimensions or settings.dimensions
        ask.ignore_eos = bool(ask.ignore_eos or body.get("ignore_eos"))
        if isinstance(body.get("min_tokens"), int):
            ask.min_tokens = body["min_tokens"]
        if protocol.reasons:
            ask.reasoning = int(_number(environ, "HTTP_X_SIM_REASONING", settings.reasoning))
            ask.reasoning_field = settings.reasoning_field
        if protocol.tools:
            ask.tool_calls = settings.tool_calls or "HTTP_X_SIM_TOOL_CALLS" in environ
        if faults.no_usage:
            ask.include_usage = ask.continuous_usage = ask.give_counts = False
        elif faults.usage_every:
            ask.include_usage = ask.continuous_usage = True
        return ask

    def _refuse(
        self, start_response: StartResponse, seen: Seen, refusal: Refusal, protocol: type[Script]
    ) -> Answer:
        seen.status = refusal.status
        self.stats.begin(seen)
        self.stats.end(seen, "refused")
        body = orjson.dumps(protocol.refusal_body(refusal))
        return _respond(start_response, refusal.status, body)

    def _fault_answer(
        self, environ: Json, start_response: StartResponse, seen: Seen, faults: Faults
    ) -> Answer:
        """A response without tokens: an error, a page, or a closed connection."""
        if faults.disconnect:
            seen.status = 0
            self.stats.end(seen, "disconnect")
            environ["sim.handler"].drop = True
            return ()
        status = seen.status = faults.html or faults.status
        self.stats.end(seen, "fault")
        if faults.html:
            title = f"{status} {_reason(status)}"
            page = (
                f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}"
                "</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
            )
            return _respond(start_response, status, page.encode(), "text/html")
        wait = faults.retry_after if faults.retry_after >= 0 else 1
        more = [("Retry-After", f"{wait:g}")] if status in (429, 503) else []
        message = _MESSAGES.get(status, "This failure was requested.")
        refusal = Refusal(status, message, "InternalServerError")
        body = orjson.dumps(ROUTES[seen.path].refusal_body(refusal))
        return _respond(start_response, status, body, more=more)


def _number(environ: Json, key: str, default: float) -> float:
    try:
        return max(0.0, float(environ[key])) if key in environ else default
    except ValueError:
        name = key[5:].lower().replace("_", "-")
        raise Refusal(400, f"{name}: {environ[key]} is not a number.") from None


def _milliseconds(environ: Json, key: str) -> float | None:
    """A header's time in seconds, None if missing."""
    return _number(environ, key, 0.0) / 1e3 if key in environ else None


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in [*HTTPStatus] else "Status"


def _respond(
    start_response: StartResponse,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    more: Iterable[tuple[str, str]] = (),
) -> Answer:
    headers = [("Content-Type", content_type), *more, ("Content-Length", str(len(body)))]
    start_response(f"{status} {_reason(status)}", headers)
    return [body]
