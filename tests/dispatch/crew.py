"""Workers that get ready, and then do what a test says."""

from __future__ import annotations

import gevent

from llmbench_locust.dispatch.coordinator import Coordinator
from llmbench_locust.dispatch.messages import Message, Plan, Ready, encode


class FakeCrew:
    """``ids``: the workers that are connected; those in ``deaf`` never answer."""

    local = False

    def __init__(self, ids: list[str], deaf: set[str] | None = None) -> None:
        self.ids = ids
        self.told: list[tuple[str, Message]] = []
        self._deaf = deaf or set()
        self._coordinator: Coordinator | None = None

    def answer(self, coordinator: Coordinator) -> None:
        """The master that they belong to."""
        self._coordinator = coordinator

    def ask_versions(self) -> None:
        pass

    def workers(self) -> list[str]:
        return list(self.ids)

    def send(self, message: Message, worker: str) -> None:
        self.told.append((worker, message))
        if isinstance(message, Plan) and worker not in self._deaf:
            assert self._coordinator is not None
            ready = Ready(message.run, "", 0, 1, "host")
            gevent.spawn(self._coordinator.receive, ready.kind, encode(ready), worker)
