"""A worker's side of a Locust test: performs one run after another for the master.

There is one `Agent` per process (in local mode, in the master's process). It communicates only by
Locust's messages. Connections and users persist between runs.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.event import Event

from llmbench_locust.dispatch.messages import TO_WORKER, Halt, Inbox, Message, Plan, Ready
from llmbench_locust.dispatch.worker_run import WorkerRun
from llmbench_locust.errors import SetupError
from llmbench_locust.records import RequestRecord
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.users.replicas import Replicas
from llmbench_locust.users.session import servers_of
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


class Agent:
    """``send`` sends a message to the master. ``name``: of this worker; "" if it is the only one.
    ``stop_users`` makes Locust stop this process's users; None if Locust does so by itself.
    ``secrets`` fills in the secrets that a plan leaves to the worker, and raises SetupError if it
    cannot. ``gaps``: those of this process.
    """

    def __init__(
        self,
        environment: object,
        send: Callable[[Message], None],
        name: str,
        stop_users: Callable[[], None] | None,
        secrets: Callable[[WireConfig], WireConfig] = lambda wire: wire,
        gaps: Gaps | None = None,
    ) -> None:
        self.environment = environment
        self.name = name
        self.send = send
        self._stop_users = stop_users
        self._secrets = secrets
        self._gaps = gaps
        self._run: WorkerRun | None = None
        self._open = Event()  # a run is active, or the users may return
        self._released = False
        self._servers: Replicas | None = None
        self._server: tuple[object, ...] = ()
        others = dict.fromkeys(TO_WORKER, self._for_run)
        self._inbox = Inbox({**others, Plan: self._begin, Halt: self._halt})

    def receive(self, kind: str, data: object) -> None:
        self._inbox.receive(kind, data, "")

    # --- called by users

    def attend(self, user: object) -> None:
        """A user takes tickets, run after run, until the test stops."""
        while not self._released:
            run = self._run
            if run is not None and not run.closed:
                run.attend(user)
            else:
                self._open.clear()
                self._open.wait()

    def perform(self, sample: SampleRequest, user: object) -> RequestRecord:
        """One request of a user's own task, in the current run or the next one."""
        while self._run is None or self._run.closed:
            self._open.clear()
            self._open.wait()
        return self._run.send(sample, user)

    # --- the runs

    def _begin(self, plan: Plan, sender: str) -> None:
        if self._run is not None:
            self._run.close()
            self._run.forget()
            self._run = None
        try:
            plan.wires = [self._secrets(wire) for wire in plan.wires]
        except SetupError as e:
            self.send(Ready(plan.run, "", 0, 0, "", refused=str(e)))
            return
        servers = self._servers_of(plan.wires[0])
        self._run = WorkerRun(self.environment, plan, servers, self.name, self.send)
        self._released = False
        self._open.set()

    def _for_run(self, message: Message, sender: str) -> None:
        if self._run is not None and message.run == self._run.id:
            self._run.receive(message)

    def _halt(self, message: Halt, sender: str) -> None:
        self._for_run(message, sender)
        run = self._run
        if run is not None and run.id == message.run and run.tasks and self._stop_users is not None:
            gevent.spawn(self._stop_users)

    def release(self) -> None:
        """The test stops. With a plan, requests in flight end as interrupted and the users' tasks
        return; Locust stops users with their own tasks.
        """
        if self._run is not None and not self._run.tasks:
            self._run.leave()
        self._released = True
        self._open.set()

    def leave(self) -> None:
        """The users have stopped, or this process ends: report the rest, close the connections."""
        if self._run is not None:
            self._run.leave()
        self.release()
        if self._servers is not None:
            self._servers.close()
            self._servers = None

    def _servers_of(self, wire: WireConfig) -> Replicas:
        """Connections to the servers of ``wire``; reuses those of the previous run if possible."""
        server = (
            *wire.base_urls,
            wire.balance,
            wire.insecure,
            wire.kernel_timestamps,
            wire.request_timeout_s,
        )
        if self._servers is not None and server != self._server:
            self._servers.close()
            self._servers = None
        if self._servers is None:
            self._servers, self._server = servers_of(wire, self._gaps), server
        return self._servers
