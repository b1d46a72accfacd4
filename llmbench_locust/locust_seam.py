"""Every touch of what Locust does not document, in one place; tests/test_locust_seam.py has a
contract test for each.

The web page's part, which completes Locust's pages and answers, is in web/plugin.py.
"""

from __future__ import annotations

import inspect
import logging
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace, TracebackType

import gevent
from locust import argument_parser, runners
from locust.exception import RPCError
from locust.rpc.protocol import Message
from locust.runners import Runner
from locust.stats import RequestStats

from llmbench_locust.json_types import Json

logger = logging.getLogger(__name__)

# --- events


def listened(events: object, name: str) -> bool:
    """Whether anyone listens to the event ``name``: what it costs can then be saved."""
    hook = getattr(events, name, None)
    return hook is not None and bool(hook._handlers)


# --- statistics

#: Seconds and points of the charts that are kept, and seconds between two looks at them.
KEPT_S, MOST_POINTS, LOOK_S = 600, 10_000, 600.0


def keep_small(stats: RequestStats) -> None:
    """Runs until it is killed. Locust keeps what each second brought and looks at the last twelve,
    and a point of its charts every 5 s: 250 MB in a week.
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
    """Let a worker make Locust's default options once. At each spawn message it makes a parser for
    every option that came: 230 of 1.5 ms each, in which it can do nothing else.
    """
    vars(argument_parser)["default_args_dict"] = cache(argument_parser.default_args_dict)


def say_taken_port(say: Callable[[str], None]) -> None:
    """One line where the master's port is taken, for which Locust has a traceback."""
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
    """Ids of the master's workers that take part."""
    return [client.id for client in runner.clients.all if client.state in _TAKES_PART]


#: What a worker that is not known yet may say.
_FIRST_WORDS = ("client_ready", "locustfile")


def drop_malformed(runner: Runner) -> None:
    """Drop messages that do not decode, that cannot be handled, and those of nobody's worker. Each
    sender is logged once.

    Locust's master ends its only listener, and so the run, at a message that does not decode, and
    ends with status 2 after one that a handler fails at.
    """
    handle, unserialize = runner.handle_message, Message.unserialize
    logged: set[str] = set()

    def handle_or_drop(sender: str, msg: Message) -> None:
        try:
            if _plausible(runner, sender, msg):
                handle(sender, msg)
                return
            reason = "it is not one that a worker of this run sends"
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


def stop_without_sources() -> None:
    """Let a runner stop without reading sources. It says in a debug line who stopped it, and for
    that `inspect` looks for the source of each frame in all modules: 40 ms.
    """
    quick = {
        "stack": partial(inspect.stack, 0),
        "getframeinfo": partial(inspect.getframeinfo, context=0),
    }
    vars(runners)["inspect"] = SimpleNamespace(**{**vars(inspect), **quick})


# --- output


class _NotTheSpawnRate(logging.Filter):
    """Our users are spawned at once on purpose: they hold tickets, they are not the load."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "selected spawn rate is very high" not in str(record.msg)


def hush(options: Namespace, *, level_asked_for: bool) -> None:
    """Locust's tables and notices stay quiet in headless mode unless they are asked for; its tables
    at the end also in `llmbench ui`, whose page has them.
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

    Locust collects them anew for each page, in a time that grows with the cube of their number: 3 s
    for ours, on the loop that sends. From now on it takes these.
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
