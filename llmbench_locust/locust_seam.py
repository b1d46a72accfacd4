"""All uses of undocumented parts of Locust; tests/test_locust_seam.py has a contract test for each.

The web part, which extends Locust's pages and responses, is in web/plugin.py.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace, TracebackType

import gevent
from locust import argument_parser, main, runners
from locust.exception import RPCError
from locust.rpc.protocol import Message
from locust.runners import Runner
from locust.stats import RequestStats

from llmbench_locust.json_types import Json

logger = logging.getLogger(__name__)

# --- events


def listened(events: object, name: str) -> bool:
    """Whether the event ``name`` has listeners; without any, its cost can be saved."""
    hook = getattr(events, name, None)
    return hook is not None and bool(hook._handlers)


# --- statistics

#: Seconds and chart points to keep, and seconds between two clean-ups.
KEPT_S, MOST_POINTS, LOOK_S = 600, 10_000, 600.0


def keep_small(stats: RequestStats) -> None:
    """Trim Locust's statistics until killed. Locust keeps counts for every second but reads only
    the last twelve, and keeps a chart point every 5 s: 250 MB in a week.
    """
    while True:
        gevent.sleep(LOOK_S)
        forget_old(stats)


def forget_old(stats: RequestStats) -> None:
    for entry in (stats.total, *stats.entries.values()):
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            for second in sorted(counts)[:-KEPT_S]:
                del counts[second]
    if len(stats.history) > MOST_POINTS:
        del stats.history[1:-1:2]


# --- workers


def keep_defaults() -> None:
    """Let a worker compute Locust's default options once. Locust makes a parser for each option in
    every spawn message: 230 parsers of 1.5 ms each, which block the worker.
    """
    vars(argument_parser)["default_args_dict"] = cache(argument_parser.default_args_dict)


def count_silence() -> None:
    """Let a worker end after a minute of listening to a silent master. Locust compares wall clocks,
    so a worker that itself stood still for a minute would end: after Ctrl-Z, or on a machine that
    was suspended or whose clock was set.
    """

    def heartbeat_timeout_checker(self: runners.WorkerRunner) -> None:
        heard, silent_s = None, 0
        while True:
            gevent.sleep(1)
            silent_s += 1
            if self.last_heartbeat_timestamp != heard:
                heard, silent_s = self.last_heartbeat_timestamp, 0
            if heard and silent_s > runners.MASTER_HEARTBEAT_TIMEOUT:
                logger.error("the master was silent for %d s: this worker ends", silent_s)
                self.quit()

    vars(runners)["WorkerRunner"].heartbeat_timeout_checker = heartbeat_timeout_checker


def say_taken_port(say: Callable[[str], None]) -> None:
    """Print one line instead of Locust's traceback if the master's port is in use."""
    others = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RPCError):
            say(
                f"error: --master-bind-port: {error}; end the other master, or use another port "
                "(--master-bind-port and --master-port)"
            )
        else:
            others(kind, error, trace)

    sys.excepthook = hook


_TAKES_PART = ("ready", "spawning", "running")


def connected_workers(runner: Runner) -> list[str]:
    """Ids of the master's workers that are ready or running."""
    return [client.id for client in runner.clients.all if client.state in _TAKES_PART]


#: Message types that an unknown worker may send.
_FIRST_WORDS = ("client_ready", "locustfile")


def drop_malformed(runner: Runner) -> None:
    """Drop messages that cannot be decoded or handled, or that come from an unknown worker. Each
    sender is logged once.

    On a message that cannot be decoded, Locust's master ends its only listener and so the run;
    after one that a handler fails on, it exits with status 2.
    """
    handle, unserialize = runner.handle_message, Message.unserialize
    logged: set[str] = set()

    def handle_or_drop(sender: str, msg: Message) -> None:
        try:
            if _plausible(runner, sender, msg):
                handle(sender, msg)
                return
            if sender in runner.worker_indexes and sender not in runner.clients:
                return  # the last words of a worker that has left
            reason = "it is not one that a worker of this run sends"
            if sender not in runner.clients:
                reason = "its sender is no worker of this run, or was silent for over a minute"
        except Exception as e:
            reason = repr(e)
        if sender not in logged and len(logged) < 100:
            logged.add(sender)
            logger.warning("a message from %.60r was dropped: %s", sender, reason)

    def decode(data: bytes) -> Message:
        try:
            return unserialize(data)
        except Exception:
            return Message("malformed", None, "")

    runner.handle_message = handle_or_drop
    Message.unserialize = decode


def _plausible(runner: Runner, sender: str, msg: Message) -> bool:
    if sender not in runner.clients:
        return msg.type in _FIRST_WORDS
    return msg.type != "malformed" and (msg.type != "stats" or isinstance(msg.data, dict))


# --- the end


def shape_goes_on(runner: Runner) -> bool:
    """Whether a test with a load shape goes on. Until it is over, another start has no effect."""
    return runner.shape_greenlet is not None


def end_after_dead_workers() -> None:
    """Let a master with `--processes` end in order if a worker died more than a minute ago. gevent
    has then forgotten its exit status, and Locust asks for it for 3 s, with a traceback each time.
    """

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        try:
            return os.waitpid(pid, options)
        except ChildProcessError:
            return pid, 0

    vars(main)["os"] = SimpleNamespace(**{**vars(os), "waitpid": waitpid})


def stop_without_sources() -> None:
    """Let a runner stop without reading sources: for a debug line about its caller, `inspect`
    searches all modules for the source of each frame, which takes 40 ms.
    """
    quick = {
        "stack": partial(inspect.stack, 0),
        "getframeinfo": partial(inspect.getframeinfo, context=0),
    }
    vars(runners)["inspect"] = SimpleNamespace(**{**vars(inspect), **quick})


# --- output


class _NotTheSpawnRate(logging.Filter):
    """Spawning all users at once is intended: they send tickets and do not set the load."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "selected spawn rate is very high" not in str(record.msg)


def silence(options: Namespace, *, level_asked_for: bool) -> None:
    """Silence Locust's tables and notices in headless mode unless requested, and its final tables
    also in `llmbench ui`, whose page shows them.
    """
    if options.headless and not level_asked_for:
        logging.getLogger("locust").setLevel(logging.WARNING)
    logging.getLogger("locust.runners").addFilter(_NotTheSpawnRate())
    asked = options.print_stats or options.only_summary or getattr(options, "progress_stats", False)
    if (options.headless or sys.argv[0] == "llmbench") and not asked:
        options.only_summary = True
        logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    elif options.headless and getattr(options, "progress_stats", False):
        options.only_summary = False


# --- command line


def option_values() -> dict[str, int | str | None]:
    """How many values each of Locust's own options takes (argparse's nargs), by its name with the
    dashes.
    """
    parser = argument_parser.get_empty_argument_parser()
    argument_parser.setup_parser_arguments(parser)
    return {name: action.nargs for name, action in parser._option_string_actions.items()}


def form_options() -> dict[str, Json]:
    """Flags in Locust's start form, by name: their default_value, help_text, choices, is_secret, …

    Locust collects them for each page in cubic time: 3 s for our flags, on the event loop that
    sends. From now on it uses these.
    """
    parser = argument_parser.get_parser()
    shown = parser.args_included_in_web_ui
    secret, required, multiple = (
        set(names)
        for names in (
            parser.secret_args_included_in_web_ui,
            parser.required_args_included_in_web_ui,
            parser.multiple_args_included_in_web_ui,
        )
    )
    locusts = argument_parser.default_args_dict()
    rows = {
        name: {
            "default_value": value,
            "is_secret": name in secret,
            "is_required": name in required,
            "help_text": (shown[name].help or "").replace("%%", "%"),
            "is_multiple": name in multiple,
            "choices": shown[name].choices,
        }
        for name, value in vars(parser.parse_args()).items()
        if name not in locusts and name in shown
    }
    argument_parser.ui_extra_args_dict = lambda args=None: rows
    return rows
