"""Makes docs/flags.md: ``python -m llmbench_locust.options.manual > docs/flags.md``."""

from __future__ import annotations

from llmbench_locust.options.flag import Flag
from llmbench_locust.options.table import GROUPS
from llmbench_locust.options.values import show

_HEAD = """\
# Flags

All flags of `vllm bench serve`, by its names and with its defaults, and ours. `llmbench serve
--help=all` prints the same list; `locust --help` has Locust's own options only, because Locust
prints it before it reads a locustfile. `python -m llmbench_locust.options.manual > docs/flags.md`
makes this page; a test checks that it is up to date.

## Ways to set a flag

The first of these wins:

1. the command line: `--request-rate 8`. Underscores work as well (`--request_rate 8`);
2. the environment: `LLMBENCH_REQUEST_RATE=8`. Separate several words by blanks, and quote them as
   in a shell: `LLMBENCH_HEADER="'Authorization=Bearer x' a=b"`;
3. Locust's configuration file (`locust.conf`, `--config FILE`, or `[tool.locust]` of
   `pyproject.toml`): `request-rate = 8`. Several words are a list: `goodput = [ttft:300, tpot:40]`.

The form of the web UI starts with these values, and a run uses the values of the form. Values of
`--header` are masked there; `KEY=***` means the value that was given at the start. The form cannot
send such a value, nor the API key of the environment, to another server than the one given at the
start, and it writes files only inside the result directory of the start.

Anyone on the machine can read the values of `--header` in the process list. Use `--header-file` (a
file with one KEY=VALUE a line) or `LLMBENCH_HEADER` for secrets.

Any other variable that begins with `LLMBENCH_` is refused, with the nearest name, but for
`LLMBENCH_READER`: `native` or `python` chooses the reader of streams.

A JSON object can be given whole or by dotted keys. These are the same:

    --extra-body '{"chat_template_kwargs": {"enable_thinking": false}, "stop": ["a", "b"]}'
    --extra-body.chat_template_kwargs.enable_thinking false --extra-body.stop+=a,b

A value that is JSON is read as JSON, any other as text. Where both forms are given, the dotted keys
win.

A bad value ends the command before it sends a request, with exit status 2 and one line on stderr:
the flag, what was found and what is allowed. The web UI shows the same line.

## Names that Locust has too

- `--host` may be a host name, which `--port` completes (`--host 10.0.0.5 --port 8000`,
  `--host ::1`), or Locust's full URL. `--base-url` wins over both. Without any of them the server
  is `http://127.0.0.1:8000`.
- `--profile` is Locust's. The switch of vLLM's profiler is `--vllm-profile`.
- `-t`, `--run-time`: no new requests are sent after this time. Requests in flight then have up to
  `--stop-timeout` to finish.
- `-u`, `--users` limits the requests in flight when `--max-concurrency` is not given.

## Details

- With `--dataset-name random`, `random-mm` and `timed_trace` the server is asked to generate all
  requested tokens (`--ignore-eos`), if the backend supports it, as vLLM does.
  `--extra-body.ignore_eos false` takes it back.
- `--input-len` and `--output-len` set the lengths of the dataset in use and override its own flags.
- Without `--temperature`, 0.0 is sent.
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
