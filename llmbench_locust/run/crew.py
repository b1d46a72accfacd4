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
from llmbench_locust.terminal import Status, warn
from llmbench_locust.transport.gaps import Gaps

#: Master → worker: who are you? Worker → master: the version of this package.
WHO, HELLO = "llmbench_who", "llmbench_hello"
#: After this many questions, this many seconds apart, a silent worker counts as one without this
#: package. It may not listen yet when the first question arrives.
QUESTIONS, APART_S = 6, 0.5
#: Seconds until the first line about missing workers, where it is not a terminal that shows it.
TELL_S = 3.0


class Crew:
    """One for each Locust process that conducts runs: a master, or the only process.

    ``local``: the worker is this process. ``spawned`` is set while all requested users exist.
    ``gaps``: those of this process.
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

    def tell_missing(self) -> None:
        """Show how many workers Locust's master waits for before it starts a test."""
        options, status = self.environment.parsed_options, Status(TELL_S)
        expected, port = options.expect_workers, options.master_bind_port
        while self._runner.state == "ready":
            found = len(connected_workers(self._runner))
            if found >= expected:
                break
            status.show(f"Waiting for workers: {found} of {expected} connected to port {port}")
            gevent.sleep(0.2)
        status.clear()

    def refuse_other_versions(self) -> None:
        """Reject workers of another version that joined since the last run, and name them."""
        if self.local:
            return
        while self._silent():
            self.ask_versions()
            gevent.sleep(0.005)

    def ask_versions(self) -> None:
        """Ask new workers for their version. From then on `workers` has those with this version."""
        now = perf_counter()
        for worker in self._silent():
            asked = self._asked.setdefault(worker, [])
            if asked and now < asked[-1] + APART_S:
                continue
            if len(asked) == QUESTIONS:
                self._meet(worker, "")
                continue
            asked.append(now)
            with suppress(Exception):  # it has disconnected
                self._runner.send_message(WHO, None, worker)

    def _silent(self) -> set[str]:
        """Connected workers that have not answered."""
        return {*connected_workers(self._runner)}.difference(self._versions)

    def _on_hello(self, environment: Environment, msg: LocustMessage, **_: object) -> None:
        self._meet(msg.node_id, str(msg.data)[:40])

    def _meet(self, worker: str, version: str) -> None:
        known, self._versions[worker] = self._versions.get(worker), version
        if version not in (known, __version__):  # one that was asked twice may answer twice
            has = "does not have llmbench-locust, or has ended"
            if version:
                has = f"has llmbench-locust {version}, the master has {__version__}"
            warn(f"worker {worker} {has}: it takes no part")

    def send(self, message: Message, worker: str) -> None:
        """Send one message to one worker."""
        self._runner.send_message(message.kind, message if self.local else encode(message), worker)

    def workers(self) -> list[str]:
        """Ids of connected workers that have this version."""
        if self.local:
            return ["local"]
        ids = connected_workers(self._runner)
        return [i for i in ids if self._versions.get(i) == __version__]

    @property
    def expected(self) -> int:
        """The number of expected workers: as many as requested, or more if more have joined."""
        options = self.environment.parsed_options
        return max(options.expect_workers or 1, len(self.workers()))

    def backends(self, default: str) -> list[str]:
        """Backends of the locustfile's user classes, the one of ``--backend`` first."""
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
