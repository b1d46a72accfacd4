"""docs/flags.md, made from the table of flags: ``python -m llmbench_locust.options.manual >
docs/flags.md``.
"""

from __future__ import annotations

from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import GROUPS
from llmbench_locust.options.values import show

_HEAD = """\
# Flags

All flags of `vllm bench serve`, by its names and with its defaults, and ours. `locust -f locustfiles/serve.py --help` prints
the same list. This page is made by `python -m llmbench_locust.options.manual > docs/flags.md`; a test keeps them in step.

## Ways to set a flag

In this order, the first one wins:

1. the command line: `--request-rate 8`. Underscores do as well (`--request_rate 8`);
2. the environment: `LLMBENCH_REQUEST_RATE=8`. Several words in one variable are parted by blanks, as in a shell:
   `LLMBENCH_HEADER="'Authorization=Bearer x' a=b"`;
3. Locust's configuration file (`locust.conf`, `--config FILE`, or `[tool.locust]` of `pyproject.toml`): `request-rate = 8`.
   Several words are a list there: `goodput = [ttft:300, tpot:40]`.

In the web UI, the form starts with these values, and a run begins with what the form says. Values of `--header` are masked
there; `KEY=***` means the value that was given at the start.

A flag that takes a JSON object takes it whole or by dotted keys. These are the same:

    --extra-body '{"chat_template_kwargs": {"enable_thinking": false}, "stop": ["a", "b", "c"]}'
    --extra-body.chat_template_kwargs.enable_thinking false --extra-body.stop+ a --extra-body.stop+=b,c

A value is JSON where it can be read as JSON, else text. With both forms, the dotted keys win.

A bad value is one line on stderr that names the flag, what was wrong and what is allowed, and exit status 2, before any request
is sent. In the web UI the same line is shown.

## Names that Locust has too

- `--host` may be a bare host, which `--port` completes (`--host 10.0.0.5 --port 8000`, `--host ::1`), or Locust's full URL.
  `--base-url` wins over both. Without any of them the server is `http://127.0.0.1:8000`.
- `--profile` stays Locust's. The switch of vLLM's profiler is `--vllm-profile`.
- `-t`, `--run-time` bounds the time in which new requests are sent; those in flight then have up to `--stop-timeout` to finish.
- `-u`, `--users` is the cap on requests in flight when `--max-concurrency` is not given.

## Where the meaning is not plain

- `--dataset-name random`, `random-mm` and `timed_trace` ask the server to go on to the length that was asked for (as
  `--ignore-eos` does) with each backend that can carry it, as vLLM does. `--extra-body.ignore_eos false` takes it back.
- `--input-len` and `--output-len` set the lengths of whichever dataset is in use, and win over the dataset's own flags.
- `--temperature` that is not given means 0.0.
"""


def flags_page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for group, flags in GROUPS.items():
        rows = [f"| `--{f.name}` | {_default(f)} | {_meaning(f)} |" for f in flags]
        parts.append(
            "\n".join(
                [
                    f"## {group[0].upper()}{group[1:]}",
                    "",
                    "| flag | default | meaning |",
                    "| --- | --- | --- |",
                    *rows,
                ]
            )
        )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _default(flag: Flag) -> str:
    if flag.kind == "bool":
        return "`False`"
    return "`None`" if flag.default is None else f"`{_cell(show(flag.default))}`"


def _meaning(flag: Flag) -> str:
    listed = ", ".join(f"`{choice}`" for choice in flag.choices)
    listed = f" One of {listed}." if listed else ""
    if flag.kind == "truth":
        listed = f" Also `--no-{flag.name}`."
    return _cell(flag.help) + listed


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(flags_page(), end="")
