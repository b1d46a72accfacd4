#!/usr/bin/env python3
"""How late requests leave against their schedule, how fast all leave at once, and how long the
command takes to its first.

    python benchmarks/send_lag.py
    python benchmarks/send_lag.py --rate 400 --seconds 20 --repeat 5

Whole commands, as a user types them, against a server of its own: Linux, a C compiler, two cores.
One JSON object a line:

* send_lag_ms: Poisson arrivals at ``--rate`` for ``--seconds``; the result's own audit, with the
  event loop's lag beside it.
* all_sent_within_s: so many requests that are due at once (``--request-rate inf``, ``--at-once``):
  from the first to the last; cpu_us: CPU of the client from the start of the arrivals to the end,
  for each of them. Up to 2,048 connections are open before.
* first_request_after_s: from the start of the command, with 1,000 random prompts of 1,024 tokens to
  make, and with 100 of 16 tokens. These are not pinned to a core: the tokenizer takes what there
  is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chunk_cost import Server, build
from compare import ROOT, measured, ours


def figures(command: list[str], folder: Path) -> dict[str, Any]:
    (folder / "r.json").unlink(missing_ok=True)  # no result overwrites another
    measured([*command, "--save-detailed"])
    found: dict[str, Any] = json.loads((folder / "r.json").read_text())
    return found


def send_lag(server: Server, options: argparse.Namespace, folder: Path) -> None:
    requests = round(options.rate * options.seconds)
    found = figures(
        [*ours(server.url, options.tokens, requests, folder), "--request-rate", str(options.rate)],
        folder,
    )
    audit = found["llmbench"]["audit"]
    line = {
        name: {key: round(value, 2) for key, value in audit[name].items()}
        for name in ("send_lag_ms", "loop_lag_ms")
    }
    print(json.dumps({"rate": options.rate, "completed": found["completed"], **line}), flush=True)


def all_at_once(server: Server, tokens: int, requests: int, folder: Path) -> None:
    found = figures(ours(server.url, tokens, requests, folder), folder)
    starts, (cpu,) = found["start_times"], found["llmbench"]["audit"]["cpu_fraction"].values()
    line = {
        "requests": len(starts),
        "all_sent_within_s": round(max(starts) - min(starts), 3),
        "cpu_us": round(cpu * found["duration"] / len(starts) * 1e6),
        "failed": found["failed"],
    }
    print(json.dumps(line), flush=True)


def start_up(
    server: Server, options: argparse.Namespace, folder: Path, prompts: int, length: int
) -> None:
    more = ["--random-input-len", str(length), "--ready-check-timeout-sec", "0"]
    words = ours(server.url, options.tokens, prompts, folder)
    words = words[words.index("--headless") + 1 :]
    command = [sys.executable, "-m", "llmbench_locust", "serve", *words, *more, "--save-detailed"]
    (folder / "r.json").unlink(missing_ok=True)
    began = time.perf_counter()  # the same clock in all processes of a Linux machine
    subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    starts = json.loads((folder / "r.json").read_text())["start_times"]
    print(
        json.dumps({"prompts": prompts, "first_request_after_s": round(min(starts) - began, 2)}),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=16, help="an answer")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--at-once", type=int, nargs="*", default=[2000, 8000, 16_000])
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(build(folder, tls=False), 500, 20)
        for _ in range(options.repeat):
            send_lag(server, options, folder)
        for requests in options.at_once:
            all_at_once(server, options.tokens, requests, folder)
        start_up(server, options, folder, 1000, 1024)
        for _ in range(options.repeat):
            start_up(server, options, folder, 100, 16)
        server.stop()


if __name__ == "__main__":
    main()
