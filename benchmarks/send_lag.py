#!/usr/bin/env python3
"""How late requests leave against their schedule, how fast all leave at once, and how long the
command takes to its first.

    python benchmarks/send_lag.py
    python benchmarks/send_lag.py --rate 400 --seconds 20 --repeat 5
    python benchmarks/send_lag.py --vllm-rs /path/to/vllm-rs   # start-up of vLLM's Rust client, too

Whole commands, as a user types them, against a server of its own: Linux, a C compiler, two cores.
One JSON object a line:

* send_lag_ms: Poisson arrivals at ``--rate`` for ``--seconds``; the result's own audit, with the
  event loop's lag beside it.
* all_sent_within_s: so many requests that are due at once (``--request-rate inf``, ``--at-once``):
  from the first to the last; cpu_us: CPU of the client from the start of the arrivals to the end,
  for each of them. Up to 16,384 connections are open before.
* first_request_after_s: from the start of the command, with 1,000 random prompts of 1,024 tokens to
  make, with 100 of 16 tokens, and with 200 of 16 tokens that ask for 10 tokens. ended_after_s:
  from the last token to the end of the command; around_s: the whole command less the run's own
  duration; whole_s: from Enter to exit. The server's first token takes 200 ms. Neither client makes
  a ready check (the default of `vllm-rs` 0.33); one row shows ours with it, which is one response
  more. These are not pinned to a core: the tokenizer takes what there is. Python's bytecode is
  kept, as pip leaves it.
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

from chunk_cost import start
from compare import ROOT, measured, ours

from llmbench_locust.calibration.server import Paced, build


def figures(command: list[str], folder: Path) -> dict[str, Any]:
    (folder / "r.json").unlink(missing_ok=True)  # no result overwrites another
    measured([*command, "--save-detailed"])
    found: dict[str, Any] = json.loads((folder / "r.json").read_text())
    return found


def send_lag(server: Paced, options: argparse.Namespace, folder: Path) -> None:
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


def all_at_once(server: Paced, tokens: int, requests: int, folder: Path) -> None:
    found = figures(ours(server.url, tokens, requests, folder), folder)
    starts, (cpu,) = found["start_times"], found["llmbench"]["audit"]["cpu_fraction"].values()
    line = {
        "requests": len(starts),
        "all_sent_within_s": round(max(starts) - min(starts), 3),
        "cpu_us": round(cpu * found["duration"] / len(starts) * 1e6),
        "failed": found["failed"],
    }
    print(json.dumps(line), flush=True)


def start_up(client: str, command: list[str], folder: Path) -> None:
    (folder / "r.json").unlink(missing_ok=True)
    kept = {name: value for name, value in os.environ.items() if "BYTECODE" not in name}
    began = time.perf_counter()  # the same clock in all processes of a Linux machine
    subprocess.run(
        command,
        cwd=ROOT,
        env=kept,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ended = time.perf_counter()
    found = json.loads((folder / "r.json").read_text())
    line = {"client": client, "prompts": found["num_prompts"]}
    line["whole_s"] = round(ended - began, 2)
    line["around_s"] = round(ended - began - found["duration"], 2)
    if client != "vllm-rs":
        first = min(found["start_times"])
        line["first_request_after_s"] = round(first - began, 2)
        line["ended_after_s"] = round(ended - first - found["duration"], 2)
    print(json.dumps(line), flush=True)


def start_ups(server: Paced, options: argparse.Namespace, folder: Path) -> None:
    """Both clients in turn: number of prompts, their length, tokens of an answer."""
    llmbench = [sys.executable, "-m", "llmbench_locust", "serve"]
    sizes = (100, 16, options.tokens), (200, 16, 10)
    for prompts, length, tokens in ((1000, 1024, options.tokens), *sizes * options.repeat):
        words = ours(server.url, tokens, prompts, folder)
        words = [*words[words.index("--headless") + 1 :], "--save-detailed"]
        words[words.index("--random-input-len") + 1] = str(length)
        unchecked = [*words, "--ready-check-timeout-sec", "0"]
        start_up("ours", [*llmbench, *unchecked], folder)
        if options.vllm_rs:
            start_up("vllm-rs", [options.vllm_rs, "bench", "serve", *unchecked], folder)
        if tokens == 10:
            start_up("ours, with the ready check", [*llmbench, *words], folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=16, help="an answer")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--at-once", type=int, nargs="*", default=[2000, 8000, 16_000])
    parser.add_argument("--vllm-rs", metavar="PROGRAM", help="its start-up beside ours")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = start(build(folder), 500, 20)
        for _ in range(options.repeat):
            send_lag(server, options, folder)
        for requests in options.at_once:
            all_at_once(server, options.tokens, requests, folder)
        server.stop()
        server = start(build(folder), 200, 20)
        start_ups(server, options, folder)
        server.stop()


if __name__ == "__main__":
    main()
