"""What every backend shares: a request is built, its answer is read by a sink, both become one record.

A backend overrides `Protocol.body` and names its sink class; the rest is here once. Pure: no socket, no Locust, no clock.
"""

from __future__ import annotations

from typing import Any, ClassVar

from llmbench_locust.backends import BackendInfo
from llmbench_locust.records import RequestRecord
from llmbench_locust.transport.exchange import Exchange, Request
from llmbench_locust.transport.sink import Sink
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


class Protocol:
    """One backend's protocol, for one run. Immutable after `__init__`; `request` and `sink` are called for each sample."""

    info: ClassVar[BackendInfo]

    def __init__(self, wire: WireConfig) -> None:
        self.wire = wire

    def body(self, sample: SampleRequest, model: str) -> dict[str, Any]:
        """The backend's own fields, before ignore_eos, sampling, --extra-body and the sample's overrides are merged."""
        raise NotImplementedError

    def request(self, sample: SampleRequest, model: str = "") -> Request:
        """The request, encoded. ``model``: of LoRA assignment; "" means the run's."""
        raise NotImplementedError

    def sink(self, sample: SampleRequest) -> Sink:
        """A new reader for this sample's answer."""
        raise NotImplementedError

    def record(self, index: int, sample: SampleRequest, exchange: Exchange, sink: Sink) -> RequestRecord:
        """The outcome: success or the error and its kind, lengths, text when needed, finish reason, times."""
        raise NotImplementedError
