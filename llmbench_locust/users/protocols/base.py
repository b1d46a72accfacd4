"""What every backend shares: a request is built, its answer is read by a sink, both become one record.

A backend overrides `Protocol.body` and names its sink class; the rest is here once. Pure: no socket, no Locust, no clock.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
import orjson

from llmbench_locust.backends import BackendInfo
from llmbench_locust.records import RequestRecord
from llmbench_locust.transport.exchange import Exchange, Request
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest

MOST_ERROR_CHARS = 500
CUT = "stream ended before its end marker"


class TextSink:
    """Gathers what one answer says. Backends override `on_event`; most of an answer comes by `on_text`.

    ``output_tokens``, ``input_tokens``: the server's counts, -1 when it gave none. ``reasoning_events``: token events before
    the first that is part of the answer; ``reasoning_tokens``: the server's count of them.
    """

    framing = "sse"
    markers: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.finished = False
        self.error = ""
        self.output_tokens = -1
        self.input_tokens = -1
        self.finish_reason = ""
        self.reasoning_events = 0
        self.reasoning_tokens = -1
        self.answered = False
        #: Pieces of text: str, or bytes that are the still escaped content of a JSON string.
        self.pieces: list[str | bytes] = []
        # The fast path of a token event is this one append.
        self.on_text = self.pieces.append

    def on_event(self, data: bytes) -> int:
        raise NotImplementedError

    def on_body(self, body: bytes) -> None:
        """A whole body where a stream was asked for: an error, or a server that does not stream."""
        self.error = message_of(body) or "the server answered with one body in place of a stream"

    def text(self) -> str:
        """All text of the answer, reasoning included, as it came."""
        return "".join(p if isinstance(p, str) else _unescape(p) for p in self.pieces)

    def answer(self, piece: str) -> None:
        """A piece of text of a token event that was parsed."""
        self.answered = True
        self.pieces.append(piece)

    def reasoning(self, piece: str) -> None:
        """A token event of reasoning, before the answer."""
        if not self.answered:
            self.reasoning_events += 1
        self.pieces.append(piece)

    def parse(self, data: bytes) -> dict[str, Any] | None:
        """The event as an object; None, with ``error`` set, when it is none. A server's error event sets ``error``, too."""
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.error = f"an event is not JSON: {data[:80].decode('utf-8', 'replace')!r}"
            return None
        if not isinstance(event, dict):
            self.error = f"an event is no JSON object: {data[:80].decode('utf-8', 'replace')!r}"
            return None
        if event.get("error"):
            self.error = message_of(event)
            return None
        return event


class PlainSink(TextSink):
    """One body, no stream: pooling. ``usage`` as in OpenAI's answers."""

    framing = "plain"

    def on_event(self, data: bytes) -> int:
        return 0

    def on_body(self, body: bytes) -> None:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            self.error = message_of(body) or "the answer is not JSON"
            return
        if isinstance(answer, dict) and answer.get("error"):
            self.error = message_of(answer)
            return
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(usage, dict):
            self.input_tokens = count(usage.get("prompt_tokens"))
        self.output_tokens = 0
        self.finished = True


class Protocol:
    """One backend's protocol, for one run. Immutable after `__init__`; `request` and `sink` are called for each sample."""

    info: ClassVar[BackendInfo]
    sink_class: ClassVar[type[TextSink]] = TextSink

    def __init__(self, wire: WireConfig) -> None:
        self.wire = wire
        self._secrets = [s for s in (wire.api_key, *wire.headers.values()) if len(s) >= 6]

    # --- the request -----------------------------------------------------------------------------------------------

    def body(self, sample: SampleRequest, model: str) -> dict[str, Any]:
        """The backend's own fields, before ignore_eos, sampling, --extra-body and the sample's overrides are merged."""
        raise NotImplementedError

    def merge(self, body: dict[str, Any]) -> dict[str, Any]:
        """ignore_eos and the sampling parameters, where this protocol has them."""
        if self.wire.ignore_eos:
            body["ignore_eos"] = True
        body.update(self.wire.sampling)
        return body

    def target(self, sample: SampleRequest) -> str:
        """Path and query."""
        return self.wire.endpoint

    def headers(self) -> dict[str, str]:
        """The backend's own headers."""
        found = {"Content-Type": "application/json"}
        if self.wire.api_key:
            found["Authorization"] = f"Bearer {self.wire.api_key}"
        return found

    def encode(self, body: dict[str, Any], sample: SampleRequest, headers: dict[str, str]) -> bytes:
        """The body as bytes; may set the content type."""
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def request(self, sample: SampleRequest, model: str = "") -> Request:
        """The request, encoded. ``model``: of LoRA assignment; "" means the run's."""
        body = self.merge(self.body(sample, model or self.wire.model))
        body.update(self.wire.extra_body)
        if sample.body_overrides:
            body.update(sample.body_overrides)
        headers = self.headers()
        own = {name.lower(): name for name in headers}
        for name, value in self.wire.headers.items():
            headers.pop(own.get(name.lower(), ""), None)
            headers[name] = value
        if sample.request_id:
            for name in [n for n in headers if n.lower() == "x-request-id"]:
                del headers[name]
            headers["x-request-id"] = sample.request_id
        encoded = self.encode(body, sample, headers)
        return Request(self.target(sample), headers, encoded)

    # --- the answer ------------------------------------------------------------------------------------------------

    def sink(self, sample: SampleRequest) -> TextSink:
        """A new reader for this sample's answer."""
        return self.sink_class()

    def record(self, index: int, sample: SampleRequest, exchange: Exchange, sink: TextSink) -> RequestRecord:
        """The outcome: success or the error and its kind, lengths, text when needed, finish reason, times."""
        times = exchange.token_times
        record = RequestRecord(
            index,
            sample.request_id,
            status=exchange.status,
            prompt_len=sample.prompt_len,
            input_tokens=sink.input_tokens,
            expected_output_len=-1 if sample.expected_output_len is None else sample.expected_output_len,
            output_len=sink.output_tokens,
            start_time=exchange.start_time,
            first_token_time=exchange.first_token_time,
            end_time=exchange.end_time,
            connect_s=exchange.connect_s,
            token_times=times,
            token_counts=exchange.token_counts,
            reasoning_tokens=sink.reasoning_tokens,
            finish_reason=sink.finish_reason,
            label=sample.label or "",
            conversation=-1 if sample.conversation is None else sample.conversation,
            turn=-1 if sample.turn is None else sample.turn,
        )
        record.error_kind, record.error = self._fault(exchange, sink)
        record.success = not record.error_kind
        if sink.reasoning_events < len(times):
            record.first_answer_time = float(times[sink.reasoning_events])
        if sink.reasoning_tokens < 0 and sink.reasoning_events:
            record.reasoning_tokens = _tokens_of(exchange, sink.reasoning_events)
        if self.info.kind == "pooling":
            record.output_len = 0
            if isinstance(sample.prompt, list) and sample.prompt and isinstance(sample.prompt[0], str | list):
                record.num_sequences = len(sample.prompt)
        elif self.wire.keep_text or record.output_len < 0:
            record.text = sink.text()
        return record

    def _fault(self, exchange: Exchange, sink: TextSink) -> tuple[str, str]:
        """("", "") or the kind of error and its message. The first cause counts: what the server said beats what followed."""
        if exchange.status >= 0 and not 200 <= exchange.status < 300 and exchange.error_kind in ("", "cut"):
            said = message_of(exchange.error_body) or f"status {exchange.status}"
            return f"http_{exchange.status}", self._clean(said)
        if sink.error:
            kind = (
                "protocol" if sink.error.startswith(("an event is", "the answer is not", "the server answered")) else "server"
            )
            return kind, self._clean(sink.error)
        if exchange.error_kind and not (exchange.error_kind == "cut" and exchange.complete and self._ended(sink)):
            return exchange.error_kind, self._clean(exchange.error or CUT)
        if not self._ended(sink) and not sink.finished:
            return "cut", CUT
        if self.info.kind == "generation" and not len(exchange.token_times):
            return "no_tokens", "the answer holds no token"
        return "", ""

    def _ended(self, sink: TextSink) -> bool:
        """Whether the answer says that it is whole: its end marker, or a finish reason."""
        return sink.finished or bool(sink.finish_reason)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"\s+", " ", text).strip()[:MOST_ERROR_CHARS]


def _tokens_of(exchange: Exchange, events: int) -> int:
    if exchange.token_counts is None:
        return events
    return int(np.sum(exchange.token_counts[:events]))


def count(value: Any) -> int:
    """A token count of an answer, -1 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1


def _unescape(raw: bytes) -> str:
    try:
        return str(orjson.loads(b'"' + raw + b'"'))
    except orjson.JSONDecodeError:  # a lone surrogate, cut between two events
        return raw.decode("utf-8", "replace")


def message_of(error: Any) -> str:
    """The server's own words, whatever form its error has; of a page of HTML its title."""
    if isinstance(error, bytes):
        text = error.decode("utf-8", "replace").strip()
        try:
            parsed = orjson.loads(text) if text else ""
        except orjson.JSONDecodeError:
            return _of_html(text)
        return message_of(parsed) if isinstance(parsed, dict | list | str) else text
    if isinstance(error, str):
        return error
    if isinstance(error, list):
        return "; ".join(filter(None, (message_of(part) for part in error)))
    if isinstance(error, dict):
        for key in ("message", "error", "detail", "msg", "errors", "object"):
            said = message_of(error[key]) if error.get(key) else ""
            if said:
                return said
        return orjson.dumps(error).decode()
    return "" if error is None else str(error)


def _of_html(text: str) -> str:
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.S | re.I)
    if title:
        return f"an HTML page: {title.group(1).strip()}"
    return re.sub(r"<[^>]*>", " ", text) if "<html" in text.lower() else text
