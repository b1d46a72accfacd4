"""Makes the configuration of a run from Locust's options or a start form; starts the simulator."""

from __future__ import annotations

import copy
import logging
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from locust.env import Environment

from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig, build_config, start_of
from llmbench_locust.options.dotted import overridden
from llmbench_locust.options.flags import check_variables
from llmbench_locust.options.secrets import Start, secret_dest
from llmbench_locust.options.values import words_in
from llmbench_locust.redact import without_user
from llmbench_locust.run.wiring import withheld
from llmbench_locust.shape import ArrivalShape
from llmbench_locust.simulator.launch import SimProcess, launch

logger = logging.getLogger(__name__)


def with_journal(argv: list[str]) -> list[str]:
    """``argv`` preceded by the flags of the journal given by --resume. Raises ConfigError."""
    known = ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--resume", type=Path, nargs="?")  # Locust's parser says what is missing
    path = known.parse_known_args(argv)[0].resume
    if path is None or not path.is_file() or "--capacity" in argv:
        return argv
    from llmbench_locust.run.from_journal import words_of

    return overridden(words_of(path), argv)


class Configurator:
    """``sim``: the running simulator, None without one."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._start: Start | None = None
        self._run_time_s: float | None = None
        self._users_asked_for: int | None = None
        self.sim: SimProcess | None = None

    @property
    def options(self) -> Namespace:
        options: Namespace = self._environment.parsed_options
        return options

    @property
    def headless(self) -> bool:
        return bool(self.options.headless)

    @property
    def open_loop(self) -> bool:
        """Whether the locustfile has an `ArrivalShape`."""
        return isinstance(self._environment.shape_class, ArrivalShape)

    @property
    def _times_runs(self) -> bool:
        """Whether we enforce --run-time. For a closed loop in the web UI, Locust does."""
        return self.open_loop or self.headless

    @property
    def fixed(self) -> Collection[str]:
        """Flags that can be set only at startup."""
        return self._start.fixed if self._start is not None else ()

    @property
    def secrets(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """KEY=VALUE of the headers, and the servers, that this process was started with."""
        if self._start is None:
            return (), ()
        return self._start.headers, tuple(u.rstrip("/") for u in self._start.base_url.split())

    def remember_start(self) -> None:
        """Remember what the process was started with. Raises ConfigError."""
        check_variables(os.environ)
        self._start = start_of(self.options)
        # Locust sends its options and its host to the workers, and takes every name in them from a
        # web form.
        options, shown = self.options, without_user(self._start.base_url)
        vars(options).pop(secret_dest("header"), None)
        if shown != self._start.base_url:
            options.base_url = shown
            options.host = options.host and without_user(options.host)
            if self.open_loop:  # else Locust's own users may need it
                self._environment.host = options.host

    def take_limits(self) -> None:
        """Take over the limits of a run, which Locust would apply differently."""
        if self._times_runs:
            # Locust would count --run-time from before the ready check, and end a planned run at
            # once; here --run-time limits the time of sending.
            self._run_time_s = self.options.run_time
            self.options.run_time = None
        if self.open_loop:
            # It also defaults to one user, which would be a concurrency limit of one.
            self._users_asked_for = self.options.num_users

    def config(self) -> RunConfig:
        """The checked flags or form values; starts the simulator for --sim. Raises ConfigError."""
        options = self.options
        if self._times_runs and options.run_time is None:
            options.run_time = self._run_time_s
        if self.open_loop:
            options.num_users = self._users_asked_for
        try:
            config = build_config(options, self._start)
        finally:
            if self._times_runs:
                options.run_time = None
        if not self._times_runs:
            config = replace(config, run_time_s=None)
        if config.sim:
            # --sim-args can be set only at the start, so that one simulator serves all runs.
            self.sim = self.sim or launch(words_in("--sim-args", config.sim_args))
            config = config.with_server(self.sim.url)
        if line := withheld(config):
            logger.warning(line)
        return config

    def config_of(self, form: Json) -> RunConfig:
        """The configuration of a start form; starts nothing. Raises ConfigError."""
        options = copy.copy(self.options)
        for name, value in form.items():
            setattr(options, name, value)
        return build_config(options, self._start)

    def stop_sim(self) -> None:
        if self.sim is not None:
            self.sim.stop()
            self.sim = None
