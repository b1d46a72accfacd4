"""`llmbench serve`: one benchmark run, with the flags of `vllm bench serve`."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files

from llmbench_locust.cli.command_line import MANY, NONE, ONE, locust_argv
from llmbench_locust.cli.help_page import help_page
from llmbench_locust.locust_import import import_locust, uncollected
from llmbench_locust.simulator.launch import launch_ahead


def main(argv: list[str], *, web: bool = False) -> int:
    """Run the packaged locustfile under Locust. Returns the exit status; raises ConfigError."""
    topic = help_topic(argv)
    if topic is not None:
        print(help_page(topic, "ui" if web else "serve"))
        return 0
    web = web or "--web" in argv
    argv = [word for word in argv if word != "--web"]
    _start_simulator(argv)
    return run_locust(str(files("llmbench_locust.locustfiles") / "serve.py"), argv, web=web)


def _start_simulator(argv: list[str]) -> None:
    """Start the simulator while Locust is imported, if ``argv`` clearly asks for it."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known.add_argument("--sim", action="store_true")
    known.add_argument("--sim-args", "--sim_args", default="")
    for flag in ("--processes", "--worker", "--config"):
        known.add_argument(flag, dest="other", nargs="?", const=True)
    with suppress(argparse.ArgumentError, ValueError):  # the flags' own checks report it
        found, _ = known.parse_known_args(argv)
        if found.sim and not found.other:
            launch_ahead(shlex.split(found.sim_args))


def help_topic(argv: Sequence[str]) -> str | None:
    """The requested help topic: "" for the short page, None for no help."""
    for word in argv:
        if word in ("-h", "--help"):
            return ""
        if word.startswith("--help="):
            return word.partition("=")[2]
    return None


def run_locust(locustfile: str, argv: list[str], *, web: bool) -> int:
    """Run Locust in this process. Returns its exit status; raises ConfigError before it starts."""
    try:
        return _run_locust(locustfile, argv, web=web)
    except KeyboardInterrupt:
        return 130  # before there was anything to stop


def _run_locust(locustfile: str, argv: list[str], *, web: bool) -> int:
    with uncollected():
        import_locust()
        importlib.import_module("llmbench_locust.users.user")  # the locustfile needs it
    options = _locust_options()
    words = locust_argv(argv, options)
    ours = ["-f", locustfile, "--exit-code-on-error", "0"]
    if not web and "--worker" not in words:
        ours.append("--headless")
    if not any(word.split("=")[0] in ("--loglevel", "-L") for word in words):
        # A worker tells that it does not reach its master.
        ours += ["--loglevel", "INFO" if web or "--worker" in words else "WARNING"]
    sys.argv = ["llmbench", *ours, *words]
    try:
        sys.modules["locust.main"].main()
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    return 0


def _locust_options() -> dict[str, str]:
    """How many values each of Locust's own options takes, by its name with the dashes."""
    from llmbench_locust.locust_seam import option_values

    return {
        name: NONE if nargs == 0 else ONE if nargs is None else MANY
        for name, nargs in option_values().items()
    }
