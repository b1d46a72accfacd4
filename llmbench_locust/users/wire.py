"""What a worker must know to send requests to the server; sent as a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmbench_locust.json_types import Json


@dataclass(frozen=True, slots=True)
class WireConfig:
    """Everything that is sent with each request, in types that msgpack supports.

    ``base_urls``: scheme, host and port of each server; ``balance``: which of them gets a request.
    ``endpoint``: path and query. ``model``: the name sent (served name, else model). ``sampling``:
    the sampling parameters that were set, by API name (temperature is 0.0 unless given).
    ``headers``: the user's (``--header``). ``api_key``: of OPENAI_API_KEY (ANTHROPIC_API_KEY for
    anthropic). ``keep_text``: whether all records have the text; without it only those whose
    length the server did not report. ``session_header``: the header with the session id, "" for
    none; the id is ``session_prefix`` and a number. ``session_echo``: the header of a response
    that later requests of its session send back. ``seed`` determines which requests are cancelled.
    """

    backend: str
    base_urls: list[str]
    endpoint: str
    model: str
    sampling: Json = field(default_factory=dict)
    ignore_eos: bool = False
    logprobs: int | None = None
    extra_body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    api_key: str = field(default="", repr=False)
    request_timeout_s: float | None = None
    insecure: bool = False
    kernel_timestamps: bool | None = None
    keep_text: bool = False
    session_header: str = ""
    session_prefix: str = ""
    session_echo: str = ""
    balance: str = "round-robin"
    seed: int = 0
    cancel_rate: float = 0.0
    cancel_after_s: float | None = None
    client_timeout_s: float | None = None
    retries: int = 0
