"""The workers of a Locust test and their users, as a run needs them."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.rpc import Message as LocustMessage
from locust.runners import LocalRunner, Runner

from llmbench_locust._version import __version__
from llmbench_locust.dispatch.messages import Message, encode
from llmbench_locust.locust_seam import connected_workers
from llmbench_locust.terminal import warn
from llmbench_locust.transport.gaps import Gaps

#: Master → worker: who are you? Worker → master: the version of this package.
WHO, HELLO = "llmbench_who", "llmbench_hello"
#: A worker that has this package answers the last of so many questions, this far apart. The first
#: may come before it listens.
QUESTIONS, APART_S = 6, 0.5


class Crew:
    """One for each Locust process that conducts runs: a master, or the only process.

    ``local``: the worker is this process. ``spawned`` is set while all users asked for are there.
    ``gaps``: the process's own.
    """

    def __init__(self, environment: Environment, runner: Runner, gaps: Gaps) -> None:
        self.environment = environment
        self.gaps = gaps
        self.local = isinstance(runner, LocalRunner)
        self.spawned = Event()
        self._runner = runner
        self._users = 0
        self._asked: dict[str, list[float]] = {}
        self._versions: dict[str, str] = {}
        if not self.local:
            runner.register_message(HELLO, self._on_hello)
        environment.events.spawning_complete.add_listener(lambda **_: self.spawned.set())
        environment.events.test_stop.add_listener(self._on_test_stop)

    def muster(self) -> None:
        """Refuse workers that came since the last run and have another version, by name."""
        if self.local:
            return
        while self._silent():
            self.greet()
            gevent.sleep(0.005)

    def greet(self) -> None:
        """Ask newcomers who they are. Those that answer well are among the `workers` from then."""
        now = perf_counter()
        for worker in self._silent():
            asked = self._asked.setdefault(worker, [])
            if asked and now < asked[-1] + APART_S:
                continue
            if len(asked) == QUESTIONS:
                self._meet(worker, "")
                continue
            asked.append(now)
            with suppress(Exception):  # it has left again
                self._runner.send_message(WHO, None, worker)

    def _silent(self) -> set[str]:
        """The workers that are there and have not answered."""
        return {*connected_workers(self._runner)}.difference(self._versions)

    def _on_hello(self, environment: Environment, msg: LocustMessage, **_: object) -> None:
        self._meet(msg.node_id, str(msg.data)[:40])

    def _meet(self, worker: str, version: str) -> None:
        known, self._versions[worker] = self._versions.get(worker), version
        if version not in (known, __version__):  # one that was asked twice may answer twice
            has = f"has llmbench-locust {version}" if version else "does not have llmbench-locust"
            warn(f"worker {worker} {has}, the master has {__version__}: it takes no part")

    def send(self, message: Message, worker: str) -> None:
        """One message to one worker."""
        self._runner.send_message(message.kind, message if self.local else encode(message), worker)

    def workers(self) -> list[str]:
        """Ids of the workers that are connected now and have this version."""
        if self.local:
            return ["local"]
        ids = connected_workers(self._runner)
        return [i for i in ids if self._versions.get(i) == __version__]

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

    def _on_test_stop(self, **_: object) -> None:
        self._users = 0
