"""The workers of a Locust test and their users, as a run needs them."""

from __future__ import annotations

from typing import Any

import gevent
from gevent.event import Event
from locust.runners import LocalRunner

from llmbench_locust.dispatch.messages import Message, encode

_TAKES_PART = ("ready", "spawning", "running")


class Crew:
    """One for each Locust process that conducts runs: a master, or the only process.

    ``local``: the worker is this process. ``spawned`` is set while all users asked for are there.
    """

    def __init__(self, environment: Any, runner: Any) -> None:
        self.environment = environment
        self.local = isinstance(runner, LocalRunner)
        self.spawned = Event()
        self._runner = runner
        self._users = 0
        environment.events.spawning_complete.add_listener(lambda **_: self.spawned.set())
        environment.events.test_stop.add_listener(self._on_test_stop)

    def send(self, message: Message, worker: str) -> None:
        """One message to one worker."""
        self._runner.send_message(message.kind, message if self.local else encode(message), worker)

    def workers(self) -> list[str]:
        """Ids of the workers that are connected now."""
        if self.local:
            return ["local"]
        return [c.id for c in self._runner.clients.all if c.state in _TAKES_PART]

    @property
    def expected(self) -> int:
        """How many workers may take part: those asked for, or more when more have come."""
        options = self.environment.parsed_options
        return max(options.expect_workers or 1, len(self.workers()))

    def backends(self, default: str) -> list[str]:
        """Backends that the locustfile's users speak, the one of ``--backend`` first."""
        spoken = {user.backend or default for user in self.environment.user_classes}
        return sorted(spoken, key=lambda name: (name != default, name))

    def end_test(self) -> None:
        """Have Locust end the test, as it does at the end of --run-time."""
        headless = self.environment.parsed_options.headless
        gevent.spawn(self._runner.quit if headless else self._runner.stop)

    def need_users(self, count: int) -> None:
        """Spawn users until there are ``count``. They stay from one run to the next."""
        if count > self._users:
            self._users = count
            self.spawned.clear()
            self._runner.start(count, count)

    def _on_test_stop(self, **_: Any) -> None:
        self._users = 0
