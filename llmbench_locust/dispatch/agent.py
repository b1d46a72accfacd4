"""A worker's side of a Locust test: takes one run after another from the master.

One `Agent` a process (in local mode, in the master's own). It speaks by Locust's messages only.
Connections and users stay from one run to the next.
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
    """``send`` takes a message to the master. ``name``: this worker's; "" where it is the only one.
    ``stop_users`` has Locust stop this process's users; None where Locust does so by itself.
    ``secrets`` fills in what a plan leaves to the worker, and raises SetupError where it cannot.
    ``gaps``: the process's own.
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
        self._open = Event()  # a run is on, or the users may go
        self._released = False
        self._servers: Replicas | None = None
        self._server: tuple[object, ...] = ()
        others = dict.fromkeys(TO_WORKER, self._for_run)
        self._inbox = Inbox({**others, Plan: self._begin, Halt: self._halt})

    def receive(self, kind: str, data: object) -> None:
        self._inbox.receive(kind, data, "")

    # --- what the users do

    def attend(self, user: object) -> None:
        """A user takes tickets, from one run to the next, until the test stops."""
        while not self._released:
            run = self._run
            if run is not None and not run.closed:
                run.attend(user)
            else:
                self._open.clear()
                self._open.wait()

    def perform(self, sample: SampleRequest, user: object) -> RequestRecord:
        """One request of a user's own task, in the run that is on, or in the next one."""
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
        """The test stops. With a plan, in-flight requests end as interrupted and the users' tasks
        return; users with tasks of their own are stopped by Locust.
        """
        if self._run is not None and not self._run.tasks:
            self._run.close()
        self._released = True
        self._open.set()

    def leave(self) -> None:
        """The users have stopped, or this process ends: report the rest, close the connections."""
        if self._run is not None:
            self._run.close()
        self.release()
        if self._servers is not None:
            self._servers.close()
            self._servers = None

    def _servers_of(self, wire: WireConfig) -> Replicas:
        """Connections to the servers of ``wire``: those of the run before where it had the same."""
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
