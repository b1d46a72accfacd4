"""The protocol class of each backend, imported on demand."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from llmbench_locust.backends import backend_info, register_backend
from llmbench_locust.entry_points import entry_points
from llmbench_locust.errors import ConfigError
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.sinks import BodySink, TextSink

_REGISTERED: dict[str, type[Protocol]] = {}


def register_protocol(protocol: type[Protocol]) -> type[Protocol]:
    """Register a protocol by its ``info.name``; also a decorator for a class in a locustfile."""
    register_backend(protocol.info)
    _REGISTERED[protocol.info.name] = protocol
    return protocol


def protocol_for(name: str) -> type[Protocol]:
    """The protocol class of a backend. Raises ConfigError for an unknown name."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    info = backend_info(name)
    if info.protocol:
        return register_protocol(EntryPoint(name, info.protocol, "").load())
    for point in entry_points("llmbench_locust.backends"):
        if point.name == name:
            return register_protocol(point.load())
    raise ConfigError(
        f"--backend: {name!r} has no protocol class; register it with register_protocol"
    )


__all__ = ["BodySink", "Protocol", "TextSink", "protocol_for", "register_protocol"]
