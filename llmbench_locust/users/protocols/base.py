"""Base of all backends: builds a request, reads its response with a sink, makes a record of both.

A backend overrides `Protocol.body` and sets its sink class. Pure: no socket, no Locust, no clock.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import orjson

from llmbench_locust.backends import BackendInfo
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.records import RequestRecord
from llmbench_locust.redact import redacted, secrets_of
from llmbench_locust.transport.exchange import Exchange, Request
from llmbench_locust.users.protocols.server_errors import message_of, status_words
from llmbench_locust.users.protocols.sinks import TextSink, count
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest

CUT = "stream ended without its end marker"
NO_TOKENS = "the response has no tokens"


class Protocol:
    """One backend's protocol for one run. Immutable after `__init__`; `request` and `sink` are
    called for each sample.

    ``renamed``: sampling parameters whose name differs from OpenAI's. Only the field
    ``info.nested`` of the body is merged with the same field of ``--extra-body``; other fields are
    replaced as a whole.
    """

    info: ClassVar[BackendInfo]
    sink_class: ClassVar[type[TextSink]] = TextSink
    renamed: ClassVar[dict[str, str]] = {}

    def __init__(self, wire: WireConfig) -> None:
        self.wire = wire
        self._secrets = secrets_of(wire.api_key, wire.headers)

    # --- the request

    def body(self, sample: SampleRequest, model: str) -> Json:
        """The backend's own fields, before others are merged in. Fields of None are not sent."""
        raise NotImplementedError

    def sampling(self) -> Json:
        """The sampling parameters under this protocol's names."""
        known = self.info.sampling
        given = ((name, value) for name, value in self.wire.sampling.items() if name in known)
        return {self.renamed.get(name, name): value for name, value in given}

    def headers(self) -> dict[str, str]:
        """The backend's own headers."""
        found = {"Content-Type": "application/json"}
        if self.wire.api_key:
            found["Authorization"] = f"Bearer {self.wire.api_key}"
        return found

    def encode(self, body: Json, sample: SampleRequest, headers: dict[str, str]) -> bytes:
        """The body as bytes; may set the content type."""
        try:
            return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:
            # Valid JSON that orjson rejects: lone surrogates in a dataset's texts, integers of
            # more than 64 bits.
            return json.dumps(body).encode()

    def merged(self, sample: SampleRequest, model: str) -> Json:
        """Own fields, ignore_eos, sampling, --extra-body, the sample's overrides; the last wins."""
        own = self.body(sample, model or self.wire.model)
        body = {name: value for name, value in own.items() if value is not None}
        nested = self.info.nested
        place = body.setdefault(nested, {}) if nested else body
        if self.wire.ignore_eos and self.info.ignore_eos:
            place["ignore_eos"] = True
        place.update(self.sampling())
        for more in (self.wire.extra_body, sample.body_overrides or {}):
            inner = more.get(nested) if nested else None
            kept = body.get(nested)
            _merge(body, more)
            if isinstance(inner, dict) and isinstance(kept, dict):
                _merge(kept, inner)
                body[nested] = kept
        return body

    def request(self, sample: SampleRequest, model: str = "") -> Request:
        """The encoded request. ``model``: the LoRA model; "" means the run's."""
        headers = self.headers()
        for name, value in self.wire.headers.items():
            _set_header(headers, name, value)
        if sample.request_id:
            _set_header(headers, "x-request-id", sample.request_id)
        if self.wire.session_header and sample.conversation is not None:
            session = f"{self.wire.session_prefix}session-{sample.conversation}"
            _set_header(headers, self.wire.session_header, session)
        encoded = self.encode(self.merged(sample, model), sample, headers)
        return Request(self.wire.endpoint, headers, encoded)

    # --- the response

    def sink(self, sample: SampleRequest) -> TextSink:
        """A new reader for this sample's response."""
        return self.sink_class()

    def record(
        self, index: int, sample: SampleRequest, exchange: Exchange, sink: TextSink
    ) -> RequestRecord:
        """The record: success or the kind of error, lengths, text if needed, times."""
        record = replace(
            sample.record(index),
            status=exchange.status,
            input_tokens=sink.input_tokens,
            cached_tokens=sink.cached_tokens,
            output_len=sink.output_tokens,
            start_time=exchange.start_time,
            first_token_time=exchange.first_token_time,
            end_time=exchange.end_time,
            connect_s=exchange.connect_s,
            server_queue_time=sink.server_queue_s,
            server_ttft=sink.server_ttft_s,
            token_times=exchange.token_times,
            token_counts=exchange.token_counts,
            reasoning_tokens=_reasoning_tokens(exchange, sink),
            finish_reason=sink.finish_reason,
        )
        kind, error = self.fault(exchange, sink)
        record.error_kind, record.error = kind, error and redacted(error, self._secrets)
        record.success = not kind
        first = sink.reasoning_events
        if (sink.answered or not sink.thoughts) and first < len(exchange.token_times):
            record.first_answer_time = float(exchange.token_times[first])
        if record.output_len < 0 or self.wire.keep_text:
            # Without a length from the server the whole text is counted, including reasoning.
            record.text = sink.text(reasoning=record.output_len < 0)
        return record

    def fault(self, exchange: Exchange, sink: TextSink) -> tuple[str, str]:
        """(kind, message), both "" for a success. The server's message takes precedence."""
        kind, error = exchange.error_kind, exchange.error
        answered = 200 <= exchange.status < 300
        if exchange.status >= 0 and not answered and kind in ("", "cut"):
            said = message_of(exchange.error_body) or status_words(exchange.status)
            return f"http_{exchange.status}", said
        if sink.error:
            return sink.error_kind, sink.error
        if kind == "protocol" and answered and exchange.error_body:
            # A document instead of the stream: if it is an error, its message says more than its
            # type.
            document = _json_object(exchange.error_body)
            if document.get("error") or document.get("object") == "error":
                return "server", message_of(document)
        # The transport knows only end markers; a finish reason is an end, too.
        if kind and not (kind == "cut" and exchange.complete and sink.ended):
            return kind, error or CUT
        if self.info.kind == "generation" and not len(exchange.token_times):
            return "no_tokens", NO_TOKENS
        return "", ""


def _merge(body: Json, more: Json) -> None:
    """``more`` wins; null removes a field (some servers reject unknown fields)."""
    for name, value in more.items():
        if value is None and name in body:
            del body[name]
        else:
            body[name] = value


def _set_header(headers: dict[str, str], name: str, value: str) -> None:
    """Set a header, replacing one of the same name in any case."""
    for old in [n for n in headers if n.lower() == name.lower()]:
        del headers[old]
    headers[name] = value


def _reasoning_tokens(exchange: Exchange, sink: TextSink) -> int:
    """The server's count, or the number of its reasoning events; -1 without reasoning."""
    if sink.reasoning_tokens >= 0 or not sink.thoughts:
        return sink.reasoning_tokens
    if exchange.token_counts is None:
        return len(sink.thoughts)
    leading = sink.reasoning_events if sink.answered else len(sink.thoughts)
    return int(np.sum(exchange.token_counts[:leading])) + len(sink.thoughts) - leading


def _json_object(data: bytes) -> Json:
    try:
        return as_object(orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}


__all__ = ["CUT", "NO_TOKENS", "Protocol", "TextSink", "count", "message_of"]
