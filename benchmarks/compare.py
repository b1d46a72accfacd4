#!/usr/bin/env python3
"""This project beside `vllm bench serve`, vLLM's Rust client and SGLang's: CPU per streamed chunk,
and how true the reported times are.

    python benchmarks/compare.py --repeat 7                   # all clients that are installed
    python benchmarks/compare.py --vllm /opt/vllm/bin/vllm    # vLLM of another environment
    python benchmarks/compare.py --vllm-rs /path/to/vllm-rs   # its Rust client (in vLLM's wheel)
    python benchmarks/compare.py --sglang /path/to/_bench.so  # SGLang's Rust extension

Whole commands are measured, as a user types them, against the server of `chunk_cost.py` (which
see): Linux, a C compiler, two cores, one for the server and one for the client. One JSON object a
line:

* cpu_us_per_chunk: time on a CPU of all processes of the command over a window in the middle of the
  run (`/proc/*/schedstat`), divided by the chunks that the server sent meanwhile. Start-up and
  report lie outside the window. `floor` is a C loop that only reads and takes the time. With
  ``--repeat``, all clients take turns in each round, and the last lines have medians and ranges.
  ``--spread`` sends the requests at 400 a second instead of at once, so that chunks come one by
  one.
* accuracy: what each client reports of a server that keeps TTFT and ITL exactly, with how late the
  server itself was.

Figures move with the machine and its load: compare the ratios of one round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from chunk_cost import judge, pin, start

from llmbench_locust.calibration import peers
from llmbench_locust.calibration.peers import Command
from llmbench_locust.calibration.server import Paced, build

ROOT = Path(__file__).resolve().parent.parent
CLIENT_CORE = 1
TTFT_MS, ITL_MS = 200.0, 20.0
SPREAD_RATE = 400
# The window opens when so many chunks a stream were sent, and closes before the answers end.
SETTLED_CHUNKS, SPARE_S = 30, 3.0


def ours(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
    locust = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "serve.py")]
    words = [*peers.random_prompts(url, tokens, streams), *peers.saved(folder)]
    return [*locust, "--headless", *words]


def measured(command: list[str]) -> float:
    """CPU seconds of the whole process tree, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*pin(CLIENT_CORE), *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}: {' '.join(command)}\n{done.stdout[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def on_cpu_s(session: int) -> float:
    """Seconds for which the threads of a session's processes have run."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            if os.getsid(int(process.name)) == session:
                files = process.glob("task/*/schedstat")
                total += sum(int(file.read_text().split()[0]) for file in files)
    return total / 1e9


def steady_us(command: list[str], server: Paced, streams: int, window_s: float) -> float:
    """CPU microseconds per chunk over ``window_s`` of the steady state."""
    before = server.count()
    client = subprocess.Popen(
        [*pin(CLIENT_CORE), *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while server.count() - before < SETTLED_CHUNKS * streams:
        if client.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"it sent no load: {' '.join(command)}")
        time.sleep(0.1)
    time.sleep(0.5)
    began = on_cpu_s(client.pid), server.count()
    time.sleep(window_s)
    ended = on_cpu_s(client.pid), server.count()
    if status := client.wait(120):
        sys.exit(f"exit status {status}: {' '.join(command)}")
    return (ended[0] - began[0]) / (ended[1] - began[1]) * 1e6


def one_round(
    options: argparse.Namespace, binary: Path, clients: dict[str, Command]
) -> dict[str, float]:
    """Microseconds per chunk by client, and of the floor."""
    server = start(binary, TTFT_MS, ITL_MS)
    streams, tokens = options.streams, round((options.window + SPARE_S) / ITL_MS * 1000)
    floor = [str(binary), "read", str(server.port), str(streams), str(tokens), "0"]
    found = {"floor": steady_us(floor, server, streams, options.window)}
    for name, command in clients.items():
        with tempfile.TemporaryDirectory() as folder:
            words = command(server.url, tokens, streams, Path(folder))
            if options.spread:
                words += ["--request-rate", str(SPREAD_RATE)]
            found[name] = steady_us(words, server, streams, options.window)
    line = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({"cpu_us_per_chunk": line, "server": judge(server.stop())}), flush=True)
    return found


def cost(options: argparse.Namespace, binary: Path, clients: dict[str, Command]) -> None:
    values = defaultdict(list)
    for _ in range(options.repeat):
        found = one_round(options, binary, clients)
        for name, value in found.items():
            values[name].append(value)
            if name != "ours":
                values[f"ours / {name}"].append(found["ours"] / value)
    for name, seen in values.items() if options.repeat > 1 else ():
        figures = {"median": statistics.median(seen), "min": min(seen), "max": max(seen)}
        line = {key: round(value, 3) for key, value in figures.items()}
        print(json.dumps({"of": name, "rounds": len(seen), **line}), flush=True)


def accuracy(options: argparse.Namespace, binary: Path, clients: dict[str, Command]) -> None:
    for name, command in clients.items():
        server = start(binary, 1000, options.accuracy_itl)
        with tempfile.TemporaryDirectory() as folder:
            measured(command(server.url, 150, options.accuracy_streams, Path(folder)))
            found = json.loads((Path(folder) / "r.json").read_text().splitlines()[-1])
        names = [f"{of}_{what}_ms" for what in ("ttft", "itl") for of in ("mean", "median", "p99")]
        figures = {
            key: round(found[key], 3) for key in ("completed", *names) if found.get(key) is not None
        }
        truth = {"ttft_ms": 1000, "itl_ms": options.accuracy_itl}
        line = {"accuracy": name, "truth": truth, **figures, "server": judge(server.stop())}
        print(json.dumps(line), flush=True)


def clients_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, Command]:
    clients: dict[str, Command] = {"ours": ours}
    for name, what, make in (
        ("vllm bench serve", options.vllm, peers.vllm),
        ("vllm-rs", options.vllm_rs, peers.vllm_rs),
        ("sglang (Rust)", options.sglang, peers.sglang),
    ):
        if what is None:
            print(f"{name}: not installed here, left out", file=sys.stderr)
        elif not Path(what).is_file():
            parser.error(f"{what}: no such file")
        else:
            clients[name] = make(str(what))
    return clients


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm", default=shutil.which("vllm"), help="default: from the PATH")
    parser.add_argument("--vllm-rs", default=shutil.which("vllm-rs"), help="default: from the PATH")
    parser.add_argument(
        "--sglang", default=peers.sglang_extension(), help="default: the installed one"
    )
    parser.add_argument("--only", choices=["cpu", "accuracy"])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--window", type=float, default=6.0, help="seconds of steady state")
    parser.add_argument("--repeat", type=int, default=1, help="rounds")
    parser.add_argument("--spread", action="store_true", help="requests one after the other")
    parser.add_argument("--accuracy-streams", type=int, default=2000)
    parser.add_argument("--accuracy-itl", type=float, default=40, metavar="MS")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    clients = clients_of(parser, options)
    with tempfile.TemporaryDirectory() as folder:
        binary = build(Path(folder), tls=False)
        if options.only != "accuracy":
            cost(options, binary, clients)
        if options.only != "cpu":
            accuracy(options, binary, clients)


if __name__ == "__main__":
    main()
