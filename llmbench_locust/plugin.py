"""Connects the benchmark to Locust: flags, messages, events, start and end of a run.

`install()` is called when a locustfile imports the package. All that it adds is driven by Locust's
own events.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Callable, Collection
from time import perf_counter
from typing import TYPE_CHECKING

import gevent
import locust
from gevent.event import Event
from locust import log
from locust.env import Environment
from locust.event import EventHook
from locust.rpc import Message as LocustMessage
from locust.runners import LocalRunner, MasterRunner, Runner, WorkerRunner

from llmbench_locust._version import __version__
from llmbench_locust.configure import Configurator, with_journal
from llmbench_locust.dispatch.agent import Agent
from llmbench_locust.dispatch.messages import TO_MASTER, TO_WORKER, Message, encode
from llmbench_locust.errors import BenchError, ConfigError
from llmbench_locust.experiments.single import conditions_of, status
from llmbench_locust.json_types import Json
from llmbench_locust.locust_seam import (
    count_silence,
    drop_malformed,
    end_after_dead_workers,
    keep_defaults,
    keep_small,
    say_taken_port,
    shape_goes_on,
    silence,
    stop_without_sources,
)
from llmbench_locust.locust_types import WebUI
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.dotted import expand_sys_argv
from llmbench_locust.options.flags import add_flags
from llmbench_locust.run.benchmark import Benchmark
from llmbench_locust.run.crew import HELLO, WHO, Crew
from llmbench_locust.run.lifecycle import Experiment, Runs
from llmbench_locust.run.sources import OwnTasks
from llmbench_locust.run.wiring import with_own_secrets
from llmbench_locust.signals import (
    Interruption,
    end_quietly_before_init,
    end_with_parent,
    listen_as_worker,
    raise_in_main,
)
from llmbench_locust.terminal import replace_unencodable, warn
from llmbench_locust.transport.gaps import Gaps

if TYPE_CHECKING:
    from llmbench_locust.run.report import Report

logger = logging.getLogger(__name__)

#: How long a start waits for the end of the test before it.
ENDS_S = 10.0

_installed = False


def install() -> None:
    """Add our flags, hooks and listeners to Locust. Safe to call more than once."""
    global _installed
    if _installed:
        return
    _installed = True
    replace_unencodable()
    end_quietly_before_init()
    end_with_parent()
    say_taken_port(warn)
    count_silence()
    stop_without_sources()
    end_after_dead_workers()
    atexit.register(gc.freeze)  # the interpreter would collect garbage three times at exit
    expand_sys_argv(with_journal)
    for name in ("llm_first_token", "llm_tokens", "llm_request"):
        setattr(locust.events, name, EventHook())
    locust.events.init_command_line_parser.add_listener(lambda parser, **_: add_flags(parser))
    locust.events.init.add_listener(_on_init)


def _on_init(
    environment: Environment, runner: Runner, web_ui: WebUI | None = None, **_: object
) -> None:
    environment.llmbench = Plugin(environment, runner, web_ui)
    environment.llmbench.begin()


class Plugin:
    """One process's part: the master's runs and reports, a worker's agent, or both if alone."""

    def __init__(self, environment: Environment, runner: Runner, web_ui: WebUI | None) -> None:
        self.environment = environment
        self.runner = runner
        self.web_ui = web_ui
        self.is_worker = isinstance(runner, WorkerRunner)
        self.local = isinstance(runner, LocalRunner)
        self.configurator = Configurator(environment)
        self.config: RunConfig | None = None
        gaps = Gaps()
        self.crew = None if self.is_worker else Crew(environment, runner, gaps)
        self.runs: Runs | None = None
        self._conductor: gevent.Greenlet | None = None
        self._stopping = self._cancelled = self._ends = False
        self.live = LiveStats({}, (50.0, 90.0, 99.0))
        self._own_run: Benchmark | None = None
        self.agent = Agent(
            environment,
            self._to_master,
            runner.client_id if self.is_worker else "local",
            runner.stop if self.is_worker else None,
            lambda wire: with_own_secrets(wire, *self.configurator.secrets),
            gaps,
        )
        self._interruption = Interruption(self.stop, self._leave)

    @property
    def open_loop(self) -> bool:
        return self.configurator.open_loop

    # --- start-up

    def begin(self) -> None:
        """Register messages and listeners; on the master, first check the flags."""
        self._or_exit(self.configurator.remember_start)
        events, options = self.environment.events, self.configurator.options
        if self.local or self.is_worker:
            for message in TO_WORKER:
                self.runner.register_message(message.kind, self._for_agent)
        if self.is_worker:
            keep_defaults()
            self.runner.register_message(
                WHO, lambda **_: self.runner.send_message(HELLO, __version__)
            )
        if isinstance(self.runner, MasterRunner):
            drop_malformed(self.runner)
        if not self.is_worker:
            gevent.spawn(keep_small, self.environment.stats)
            for message in TO_MASTER:
                self.runner.register_message(message.kind, self._for_runs)
        events.test_start.add_listener(self._on_test_start)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.quitting.add_listener(self._on_quitting)
        events.quit.add_listener(lambda **_: self.configurator.stop_sim())
        silence(options, level_asked_for=_level_asked_for())
        if self.is_worker:
            listen_as_worker(forked=bool(options.processes))
            return
        self._interruption.listen()
        self.configurator.take_limits()
        if self.configurator.headless or options.autostart:
            self._or_exit(self.configure)
            if self.crew is not None and not self.local:
                gevent.spawn(self.crew.tell_missing)
        if self.web_ui is not None:
            from llmbench_locust.web.plugin import check_port, install_web

            self._or_exit(lambda: check_port(self.web_ui))
            install_web(self.environment, self)

    def configure(self) -> RunConfig:
        """The configuration of the next run. Raises ConfigError."""
        self.config = self.configurator.config()
        return self.config

    @property
    def fixed(self) -> Collection[str]:
        return self.configurator.fixed

    def plan(self, form: Json) -> str:
        """What a start form would run, in one sentence. Raises ConfigError."""
        from llmbench_locust.run.preview import outlook

        if self.open_loop and (self._going() or self.live.state == "preparing"):
            raise ConfigError(
                "a run is in progress; stop it or wait until it ends before you start another"
            )
        return outlook(self.configurator.config_of(form), planned=self.open_loop)

    def until_ended(self) -> bool:
        """Wait until Locust has ended the test of a run that is over: on a master, a second after
        its report. Returns False if that takes long.
        """
        deadline = perf_counter() + ENDS_S
        while ends := not self._going() and (self._ends or shape_goes_on(self.runner)):
            if perf_counter() > deadline:
                break
            gevent.sleep(0.02)
        return not ends

    def _going(self) -> bool:
        return self._conductor is not None and not self._conductor.ready()

    def _or_exit(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BenchError as e:
            self.configurator.stop_sim()
            warn(f"error: {e}")
            sys.exit(e.exit_code)

    # --- messages

    def _to_master(self, message: Message) -> None:
        self.runner.send_message(message.kind, message if self.local else encode(message))

    def _for_agent(self, environment: Environment, msg: LocustMessage, **_: object) -> None:
        self.agent.receive(msg.type, msg.data)

    def _for_runs(self, environment: Environment, msg: LocustMessage, **_: object) -> None:
        if self.runs is not None:
            self.runs.receive(msg.type, msg.data, msg.node_id)

    # --- the runs

    def conduct(self, experiment: Experiment) -> None:
        """Run a whole Locust test with a plan; returns when Locust should end it."""
        self._cancelled = self._interruption.status is not None
        self._conductor = gevent.spawn(self._carry_out, experiment)
        self._conductor.get()
        if self._stopping:
            Event().wait()  # Locust is stopping already, and ends this greenlet itself

    def _carry_out(self, experiment: Experiment) -> None:
        assert self.crew is not None
        self.runs = None
        try:
            config = self.config
            if config is None or not self.configurator.headless:
                config = self.configure()
            self.runs = Runs(self.crew, config, self.live)
            self.runs.stopping = self._cancelled
            experiment(self.runs)
        except BenchError as e:
            self._give_up(e)
        else:
            self._take_exit_status()

    def _on_test_start(self, **_: object) -> None:
        """A closed loop: the run is prepared and started before Locust spawns the users."""
        if self.open_loop or self.crew is None:
            return
        self.runs = None
        try:
            config = self.configure()
            conditions_of(config)
            self.runs = Runs(self.crew, config, self.live)
            tasks = OwnTasks(self.crew.backends(config.backend))
            self._own_run = self.runs.begin(config, tasks)
        except Exception as e:
            if isinstance(e, BenchError):
                self._give_up(e)
            else:
                logger.exception("the run could not be prepared")
                log.unhandled_greenlet_exception = True
            if self.configurator.headless:
                self.crew.end_test()
            raise gevent.GreenletExit from e  # so that Locust spawns no users

    @property
    def report(self) -> Report | None:
        """The report of the latest run that has finished."""
        return self.runs.report if self.runs is not None else None

    def _give_up(self, error: BenchError) -> None:
        """Report that a run cannot begin, in one line on the console and the web page."""
        warn(f"error: {error}")
        self.environment.process_exit_code = error.exit_code
        self.live.failed(str(error))

    def stop(self) -> None:
        """End the runs, and wait until the experiment has reported.

        The web page calls it, too: Locust's master fires no event for a stop during preparation.
        """
        self._cancelled = True
        if self.runs is not None:
            self.runs.stop()
        if self._conductor is not None:
            self._conductor.join()

    def _on_test_stopping(self, **_: object) -> None:
        self._ends = True
        self._stopping = self._going()
        self.stop()
        self.agent.release()
        if self._own_run is not None and not self.local:
            self._own_run.finished.wait()  # Locust's master would not wait for the last outcomes

    def _on_test_stop(self, **_: object) -> None:
        self._conductor, self._stopping, self._ends = None, False, False
        self.agent.leave()
        if self._own_run is not None and self.runs is not None:
            run, self._own_run = self._own_run, None
            run.finished.wait()
            report = self.runs.conclude(run)
            self.runs.exit_status = status(self.runs, report, report.publish())
            self._take_exit_status()
            if self.crew is not None and self.configurator.headless and not self.crew.workers():
                self.crew.end_test()  # the run's own timer, which would do so, has ended with it

    def _take_exit_status(self) -> None:
        if self.runs is not None and self.runs.exit_status is not None:
            self.environment.process_exit_code = self.runs.exit_status

    def _on_quitting(self, **_: object) -> None:
        if self._own_run is not None:
            self.runner.stop()  # now: afterwards the exit status cannot change
        self.stop()
        self.agent.leave()
        if self._interruption.status is not None:
            self.environment.process_exit_code = self._interruption.status

    def _leave(self) -> None:
        """Shut the process down, wherever Locust's main greenlet waits."""
        if self._waits_for_workers():
            raise_in_main(SystemExit(self._interruption.status))
            return
        self.runner.quit()
        if self.web_ui is not None:
            self.web_ui.stop()

    def _waits_for_workers(self) -> bool:
        """Whether Locust's master still waits for its workers; nothing of the run has begun."""
        idle = self._conductor is None and self._own_run is None
        return not self.local and self.runner.state == "ready" and idle


def _level_asked_for() -> bool:
    names = ("--loglevel", "-L")
    return "LOCUST_LOGLEVEL" in os.environ or any(word.startswith(names) for word in sys.argv)


__all__ = ["Plugin", "install"]
