"""`llmbench serve`: one benchmark run, with the flags of `vllm bench serve`."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from importlib.resources import files

from llmbench_locust.cli.command_line import MANY, NONE, ONE, locust_argv
from llmbench_locust.cli.help_page import help_page


def main(argv: list[str], *, web: bool = False) -> int:
    """Run the packaged locustfile under Locust. Returns the exit status; raises ConfigError."""
    topic = help_topic(argv)
    if topic is not None:
        print(help_page(topic, "ui" if web else "serve"))
        return 0
    web = web or "--web" in argv
    argv = [word for word in argv if word != "--web"]
    return run_locust(str(files("llmbench_locust.locustfiles") / "serve.py"), argv, web=web)


def help_topic(argv: Sequence[str]) -> str | None:
    """What help is asked for: "" for the short page, None for none."""
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
    # What imports make is here to stay: to look for garbage in it again and again would take a
    # tenth of the time to the first request.
    gc.disable()
    import locust.main  # first: it lets gevent patch the standard library

    importlib.import_module("llmbench_locust.users.user")  # what the locustfile asks for
    gc.freeze()
    gc.enable()
    options = _locust_options()
    words = locust_argv(argv, options)
    ours = ["-f", locustfile, "--exit-code-on-error", "0"]
    if not web and "--worker" not in words:
        ours.append("--headless")
    if not any(word.split("=")[0] in ("--loglevel", "-L") for word in words):
        ours += ["--loglevel", "INFO" if web else "WARNING"]
    sys.argv = ["llmbench", *ours, *words]
    try:
        locust.main.main()
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
