"""The start form as data: groups, fields and their values. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from llmbench_locust.datasets import DATASETS
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import JsonValue
from llmbench_locust.options import checks
from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import FLAGS, GROUPS
from llmbench_locust.options.values import Default, show
from llmbench_locust.redact import MASK, without_user

#: Values of the first form if none were given at startup: enough requests for a P99, and not all
#: of them at once.
FIRST = {"request_rate": "10", "num_prompts": "700"}

#: title → (name in the form, label) of each field that is always visible.
_SERVER = (
    ("sim", "Use the built-in simulator"),
    ("base_url", "Server URL"),
    ("model", "Model"),
    ("backend", "Backend"),
)
ESSENTIALS: dict[str, tuple[tuple[str, str], ...]] = {
    "Server": _SERVER,
    "Requests": (
        ("dataset_name", "Dataset"),
        ("dataset_path", "Dataset file"),
        ("input_len", "Input length (tokens)"),
        ("output_len", "Output length (tokens)"),
    ),
    "Load": (
        ("request_rate", "Request rate (1/s)"),
        ("max_concurrency", "Concurrency"),
        ("num_prompts", "Number of requests"),
        ("duration", "or duration"),
    ),
    "Objectives": (("goodput", "Objectives (ms)"),),
}
#: The same for users with their own tasks.
CLOSED_LOOP = {
    "Server": _SERVER,
    "Load": (
        ("user_count", "Users"),
        ("spawn_rate", "New users per second"),
        ("run_time", "Duration"),
    ),
    "Objectives": ESSENTIALS["Objectives"],
}
_LOCUST_HELP = {
    "user_count": "Concurrent users that run the locustfile's tasks.",
    "spawn_rate": "Users started per second.",
    "run_time": "Such as 60s or 5m; empty runs until Stop.",
}

#: Not useful on a page: progress on the console, exit statuses.
_LEFT_OUT = {"preset", "disable_tqdm", "progress_stats", "dry_run", "strict", "check"}
#: Never stored in a browser: they may contain secrets.
FORGOTTEN = {"header", "header_file", "extra_body", "sim_args", "metadata"}


@dataclass(frozen=True, slots=True)
class Field:
    """``kind``: text, check, choice, secret or objectives. ``given``: set at startup, so that no
    remembered value replaces it. ``fixed``: can be set only at startup.
    """

    name: str
    label: str
    help: str = ""
    kind: str = "text"
    value: str = ""
    placeholder: str = ""
    choices: tuple[str, ...] = ()
    flag: str = ""
    given: bool = False
    fixed: bool = False

    @property
    def kept(self) -> bool:
        return self.kind != "secret" and self.name not in FORGOTTEN


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """``first``: no run was started from the page yet. ``datasets``: by name, the default ``input``
    and ``output`` length ("" if it has none) and the flags that set them, and the kind of ``path``
    ("none" without a file).
    """

    essentials: tuple[Group, ...]
    more: tuple[Group, ...]
    first: bool
    datasets: dict[str, dict[str, str]]


def given_by(options: Mapping[str, object]) -> set[str]:
    """Names of the flags set at startup by command line, environment or file."""
    found = {
        dest
        for dest in FLAGS
        if options.get(dest) not in (None, False) and not isinstance(options[dest], Default)
    }
    return found | ({"base_url"} if options.get("host") or "port" in found else set())


def start_form(
    options: Mapping[str, object],
    others: Mapping[str, JsonValue],
    *,
    given: Collection[str] = (),
    fixed: Collection[str] = (),
    first: bool = True,
    open_loop: bool = True,
) -> Form:
    """The form filled with these values.

    ``options``: by name, as the parser or the last form left them. ``others``: Locust's rows of
    flags that a locustfile added. ``first``: no run was started from the page yet.
    """
    fields = {
        dest: _field(flag, options.get(dest), dest in given, dest in fixed)
        for dest, flag in FLAGS.items()
        if dest in options
    }
    if first and open_loop:
        for dest, value in FIRST.items():
            if dest in fields and dest not in given:
                fields[dest] = replace(fields[dest], value=value)
    fields |= _locust_fields(options)
    if "base_url" in fields:
        fields["base_url"] = _url(fields["base_url"], _server(options))
    layout = ESSENTIALS if open_loop else CLOSED_LOOP
    essentials = tuple(
        Group(title, tuple(replace(fields[n], label=label) for n, label in rows if n in fields))
        for title, rows in layout.items()
    )
    shown = {name for rows in layout.values() for name, _ in rows} | _LEFT_OUT
    more = [
        Group(title, tuple(fields[f.dest] for f in flags if f.dest in fields.keys() - shown))
        for title, flags in GROUPS.items()
    ]
    own = tuple(_other(name, row, options.get(name)) for name, row in others.items())
    groups = (Group("locustfile", own), *more)
    return Form(essentials, tuple(g for g in groups if g.fields), first, _datasets())


def _field(flag: Flag, value: object, given: bool, fixed: bool) -> Field:
    default = "" if flag.default is None or flag.kind == "bool" else show(flag.default)
    text = "" if value is None or value is False else str(value)
    if flag.kind == "bool":
        kind, text = "check", "true" if text.lower() == "true" else ""
    elif flag.secret:
        kind = "secret"
    elif flag.dest == "goodput":
        kind = "objectives"
    elif flag.kind == "truth" or flag.choices:
        kind, text = "choice", text or default
    else:
        kind, text = "text", "" if text == default else text
    choices = ("true", "false") if flag.kind == "truth" else flag.choices
    if flag.default is None and choices:
        choices = ("", *choices)
    return Field(
        flag.dest,
        flag.name.replace("-", " ").capitalize(),
        flag.help,
        kind,
        text,
        default,
        choices,
        f"--{flag.name}",
        given,
        fixed,
    )


def _url(field: Field, default: str) -> Field:
    """A URL with a password is fixed: the page neither shows nor changes it."""
    shown = without_user(field.value)
    return replace(field, value=shown, fixed=f"//{MASK}@" in shown, placeholder=default)


def _server(options: Mapping[str, object]) -> str:
    """The server that is used if no URL is typed."""
    host, port = options.get("host"), str(options.get("port") or 8000)
    try:
        return checks.base_url(None, str(host) if host else None, int(port))
    except (ConfigError, ValueError):
        return ""


def _locust_fields(options: Mapping[str, object]) -> dict[str, Field]:
    """Locust's own fields, which a closed loop needs."""
    users, rate, run_time = (options.get(n) for n in ("num_users", "spawn_rate", "run_time"))
    values = {
        "user_count": users or 10,
        "spawn_rate": rate or users or 10,
        "run_time": f"{run_time}s" if run_time else "",
    }
    return {n: Field(n, n, _LOCUST_HELP[n], value=str(value)) for n, value in values.items()}


def _other(name: str, row: Mapping[str, JsonValue], value: object) -> Field:
    choices = tuple(map(str, row["choices"] or ()))
    kind = "check" if isinstance(value, bool) else "choice" if choices else "text"
    text = "" if value is None or value is False else str(value).lower() if value is True else value
    if isinstance(value, list):
        text = ",".join(map(str, value))
    return Field(
        name,
        name.replace("_", " ").capitalize(),
        row["help_text"],
        "secret" if row["is_secret"] else kind,
        str(text),
        choices=choices,
        flag="--" + name.replace("_", "-"),
    )


def _datasets() -> dict[str, dict[str, str]]:
    return {
        name: {
            "input": _default(info.input_flag),
            "output": _default(info.output_flag),
            "input_flag": info.input_flag,
            "output_flag": info.output_flag,
            "path": info.path,
        }
        for name, info in DATASETS.items()
    }


def _default(dest: str) -> str:
    flag = FLAGS.get(dest)
    return "" if flag is None or flag.default is None else show(flag.default)
