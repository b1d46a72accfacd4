"""Where Locust and the benchmark meet: flags, messages, events, the beginning and the end of a run.

`install()` is called once when a locustfile imports the package. Everything that it adds hangs on
Locust's own events.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from typing import Any

import gevent
import locust
from gevent.event import Event
from locust.event import EventHook
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from llmbench_locust.dispatch import messages
from llmbench_locust.dispatch.agent import Agent
from llmbench_locust.errors import BenchError, ConfigError
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.options.config import RunConfig, build_config, start_of
from llmbench_locust.options.dotted import expand_sys_argv
from llmbench_locust.options.flags import add_flags, check_variables
from llmbench_locust.options.secrets import Start, secret_dest
from llmbench_locust.run.closed import ClosedLoop
from llmbench_locust.run.crew import Crew
from llmbench_locust.run.lifecycle import Experiment, Runs
from llmbench_locust.run.report import Report
from llmbench_locust.run.strangers import drop_malformed
from llmbench_locust.run.wiring import with_own_secrets, withheld
from llmbench_locust.shape import ArrivalShape
from llmbench_locust.signals import (
    Interruption,
    die_with_parent,
    end_quietly_before_init,
    listen_as_worker,
    raise_in_main,
)
from llmbench_locust.simulator.launch import SimProcess, launch
from llmbench_locust.terminal import warn

logger = logging.getLogger(__name__)

_TO_WORKER = (
    messages.PLAN,
    messages.PING,
    messages.TICKETS,
    messages.GO,
    messages.LEASE,
    messages.PERMITS,
    messages.ACK,
    messages.HALT,
    messages.STOP,
)
_TO_MASTER = (messages.READY, messages.PONG, messages.REPORT, messages.RETURNED)
_installed = False


def install() -> None:
    """Add our flags, hooks and listeners to Locust. Safe to call more than once."""
    global _installed
    if _installed:
        return
    _installed = True
    end_quietly_before_init()
    expand_sys_argv()
    for name in ("llm_first_token", "llm_tokens", "llm_request"):
        setattr(locust.events, name, EventHook())
    locust.events.init_command_line_parser.add_listener(lambda parser, **_: add_flags(parser))
    locust.events.init.add_listener(_on_init)


def plugin_of(environment: Any) -> Plugin:
    """The plugin of this Locust environment."""
    plugin: Plugin = environment.llmbench
    return plugin


def _on_init(environment: Any, runner: Any, web_ui: Any = None, **_: Any) -> None:
    environment.llmbench = Plugin(environment, runner, web_ui)
    environment.llmbench.begin()


class Plugin:
    """One process's part. On the master (or alone): config, benchmark, report. On a worker (or
    alone): the agent.
    """

    def __init__(self, environment: Any, runner: Any, web_ui: Any) -> None:
        self.environment = environment
        self.runner = runner
        self.web_ui = web_ui
        self.is_worker = isinstance(runner, WorkerRunner)
        self.local = isinstance(runner, LocalRunner)
        self.config: RunConfig | None = None
        self.crew = None if self.is_worker else Crew(environment, runner)
        self.runs: Runs | None = None
        self._conductor: gevent.Greenlet | None = None
        self._stopping = self._cancelled = False
        self.sim: SimProcess | None = None
        self.live = LiveStats({}, (50.0, 90.0, 99.0))
        self.start: Start | None = None
        self.agent = Agent(
            environment,
            runner.send_message,
            runner.client_id if self.is_worker else "local",
            lambda wire: with_own_secrets(wire, self.start.headers if self.start else ()),
        )
        self.closed_loop = ClosedLoop(self)
        self._interruption = Interruption(self.stop, self._leave)

    @property
    def options(self) -> Any:
        return self.environment.parsed_options

    @property
    def headless(self) -> bool:
        return bool(self.options.headless)

    @property
    def open_loop(self) -> bool:
        """Whether the locustfile has an `ArrivalShape`."""
        return isinstance(self.environment.shape_class, ArrivalShape)

    # --- start-up
    # ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Register messages and listeners; on the master, check the flags before anything else
        happens.
        """
        self._or_exit(self._remember_start)
        events = self.environment.events
        if self.local or self.is_worker:
            for kind in _TO_WORKER:
                self.runner.register_message(kind, self._for_agent)
        if isinstance(self.runner, MasterRunner):
            drop_malformed(self.runner)
        if self.local or not self.is_worker:
            for kind in _TO_MASTER:
                self.runner.register_message(kind, self._for_coordinator)
        self.closed_loop.register()
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.quitting.add_listener(self._on_quitting)
        _hush(self.options)
        if self.is_worker:
            listen_as_worker()
            if self.options.processes:
                die_with_parent()
            return
        self._interruption.listen()
        if self.open_loop:
            # Locust would end the run at --run-time by itself; with a plan, it bounds the time of
            # sending.
            self._run_time_s = self.options.run_time
            self.options.run_time = None
            # It also fills in one user where none was asked for, which would be a cap of one.
            self._users_asked_for = self.options.num_users
        if self.headless or self.options.autostart:
            self._or_exit(self.configure)
        if self.web_ui is not None:
            from llmbench_locust.web.plugin import install_web

            install_web(
                self.environment, self.live, lambda: self.report, self.check_form, self.stop
            )

    def _remember_start(self) -> None:
        check_variables(os.environ)
        self.start = start_of(self.options)
        # Locust sends its options to the workers, and takes every name in them from a web form.
        vars(self.options).pop(secret_dest("header"), None)

    def configure(self) -> RunConfig:
        """The flags, or the web form's values, checked. Starts the simulator when it is asked for.
        Raises ConfigError.
        """
        options = self.options
        if self.open_loop and options.run_time is None:
            options.run_time = getattr(self, "_run_time_s", None)
        if self.open_loop:
            options.num_users = self._users_asked_for
        try:
            config = build_config(options, self.start)
        finally:
            if self.open_loop:
                options.run_time = None
        if config.sim and self.sim is None:
            self.sim = launch(shlex.split(config.sim_args))
        if config.sim and self.sim is not None:
            config = config.with_server(self.sim.url)
        if line := withheld(config):
            logger.warning(line)
        self.config = config
        return config

    def check_form(self, form: dict[str, Any]) -> str | None:
        """The line that tells what is wrong with a start form, None when it is right."""
        import copy

        if self.open_loop and (self._going() or self.live.state == "preparing"):
            return "a run is going on; stop it or wait for its end before you start another"
        options = copy.copy(self.options)
        for name, value in form.items():
            setattr(options, name, value)
        try:
            build_config(options, self.start)
        except ConfigError as e:
            return str(e)
        return None

    def _going(self) -> bool:
        return self._conductor is not None and not self._conductor.ready()

    def _or_exit(self, step: Any) -> None:
        try:
            step()
        except BenchError as e:
            self._stop_sim()
            warn(f"error: {e}")
            sys.exit(e.exit_code)

    # --- messages
    # ------------------------------------------------------------------------------------------------

    def _for_agent(self, environment: Any, msg: Any, **_: Any) -> None:
        self.agent.handle(msg.type, msg.data)

    def _for_coordinator(self, environment: Any, msg: Any, **_: Any) -> None:
        if self.runs is not None:
            self.runs.handle(msg.type, msg.node_id, msg.data)

    # --- the runs

    def conduct(self, experiment: Experiment) -> None:
        """The whole of a Locust test with a plan: returns when Locust is to end it."""
        self._cancelled = self._interruption.status is not None
        self._conductor = gevent.spawn(self._carry_out, experiment)
        self._conductor.get()
        if self._stopping:
            Event().wait()  # Locust is stopping already, and ends this greenlet itself

    def _carry_out(self, experiment: Experiment) -> None:
        assert self.crew is not None
        self.runs = None
        try:
            config = self.config if self.headless and self.config is not None else self.configure()
            self.runs = Runs(self.crew, config, self.live)
            self.runs.stopping = self._cancelled
            experiment(self.runs)
        except BenchError as e:
            self._give_up(e)
        else:
            if self.runs.exit_status is not None:
                self.environment.process_exit_code = self.runs.exit_status

    @property
    def report(self) -> Report | None:
        """Of the latest run that has finished."""
        return self.runs.report if self.runs is not None else self.closed_loop.report

    def _give_up(self, error: BenchError) -> None:
        warn(f"error: {error}")
        self.environment.process_exit_code = error.exit_code
        self.live.failed(str(error))

    def fail(self, error: BenchError) -> None:
        """A run that cannot begin: one line, on the console and on the web page."""
        self._give_up(error)
        if self.headless:
            self.runner.quit()

    def stop(self) -> None:
        """End the runs, and wait until the experiment has reported.

        The web page calls it, too: Locust's master tells nobody of a stop while a run is prepared.
        """
        self._cancelled = True
        if self._conductor is not None:
            if self.runs is not None:
                self.runs.stop()
            self._conductor.join()

    def _on_test_stopping(self, **_: Any) -> None:
        self._stopping = self._conductor is not None and not self._conductor.ready()
        self.stop()
        self.agent.release()

    def _on_test_stop(self, **_: Any) -> None:
        self._conductor, self._stopping = None, False
        self.agent.leave()

    def _on_quitting(self, **_: Any) -> None:
        self.stop()
        self.agent.leave()
        self._stop_sim()
        if self._interruption.status is not None:
            self.environment.process_exit_code = self._interruption.status

    def _leave(self) -> None:
        """End the process in order, wherever Locust's main greenlet waits."""
        if self._waits_for_workers():
            raise_in_main(SystemExit(self._interruption.status))
            return
        self.runner.quit()
        if self.web_ui is not None:
            self.web_ui.stop()

    def _waits_for_workers(self) -> bool:
        """Locust's master sleeps until its workers are there; nothing of the run has begun."""
        return not self.local and self.runner.state == "ready" and self._conductor is None

    def _stop_sim(self) -> None:
        if self.sim is not None:
            self.sim.stop()
            self.sim = None


class _NotTheSpawnRate(logging.Filter):
    """Our users are spawned at once on purpose: they hold tickets, they are not the load."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "selected spawn rate is very high" not in str(record.msg)


def _level_asked_for() -> bool:
    """Whether the user chose what Locust logs."""
    names = ("--loglevel", "-L")
    return "LOCUST_LOGLEVEL" in os.environ or any(word.startswith(names) for word in sys.argv)


def _hush(options: Any) -> None:
    """Locust's tables and notices stay quiet in headless mode unless they are asked for."""
    if options.headless and not _level_asked_for():
        logging.getLogger("locust").setLevel(logging.WARNING)
    logging.getLogger("locust.runners").addFilter(_NotTheSpawnRate())
    asked = options.print_stats or options.only_summary or getattr(options, "progress_stats", False)
    if options.headless and not asked:
        options.only_summary = True
        logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    elif options.headless and getattr(options, "progress_stats", False):
        options.only_summary = False


__all__ = ["Plugin", "install", "plugin_of"]
