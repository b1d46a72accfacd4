#!/usr/bin/env python3
"""What a streamed chunk costs this client, and how true its times are, beside a C loop that does
the least that can be done.

    python benchmarks/chunk_cost.py                    # cost and accuracy of the transport
    python benchmarks/chunk_cost.py --only cost --spread-ms 20
    python benchmarks/chunk_cost.py --only accuracy --accuracy-streams 5000 --accuracy-itl 50

Needs Linux, a C compiler and two cores: the server is pinned to core 0, the client to core 1. One
JSON object a line.

* cost: CPU microseconds per chunk by slope (a run with many tokens less one with few, so that
  set-up cancels out), the lowest of the repeats. ``--spread-ms`` spreads the requests over that
  time. It matters more than anything else: requests that leave together are answered together, and
  one wake-up of the process then serves many chunks. The floor is measured with the same spread.
* accuracy: TTFT and ITL as the client saw them, against a server that keeps its schedule and says
  how late it was.

Figures move with the machine and its load: compare ratios of one run. On a machine that does other
work, give it the right of way: ``chrt -r 1 python benchmarks/chunk_cost.py``. A server that was
late says so in a line of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmbench_locust.calibration.server import Late, Paced, build

SERVER_CORE, CLIENT_CORE = 0, 1


def pin(core: int) -> list[str]:
    return ["taskset", "-c", str(core)]


def start(binary: Path, ttft_ms: float, itl_ms: float, tls: bool = False) -> Paced:
    """The server on its core."""
    return Paced(binary, ttft_ms, itl_ms, tls=tls, before=pin(SERVER_CORE))


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [*pin(CLIENT_CORE), *command], stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return json.loads(done.stdout.splitlines()[-1])


def judge(server: Late) -> Late:
    """The server's own figures, with a warning where they spoil the client's."""
    if server["late_mean_ms"] > 0.5:
        print(
            "the server was late: something else used its core, and these figures say little",
            file=sys.stderr,
        )
    return server


# The client: this file again, in a process of its own.


def client(options: argparse.Namespace) -> None:
    """Runs all streams once and prints CPU time and latencies. Imports here: the parent needs none
    of it.
    """
    from gevent import monkey

    monkey.patch_all()
    import gc

    import gevent
    import numpy as np
    import orjson

    from llmbench_locust.transport.client import Transport
    from llmbench_locust.transport.exchange import Exchange, Request

    class Sink:
        framing = "sse"
        markers = () if options.no_template else (b'"text":"',)

        def __init__(self) -> None:
            self.finished = False
            self.error = ""
            self.texts: list[bytes] = []

        def on_texts(self, texts: bytes, ends: Sequence[int]) -> None:
            self.texts += [texts[a:b] for a, b in pairwise([0, *ends])]

        def on_event(self, data: bytes) -> int:
            if data == b"[DONE]":
                self.finished = True
                return 0
            choices = orjson.loads(data)["choices"]
            if not choices:
                return 0
            self.texts.append(choices[0]["text"].encode())
            return -1 if choices[0]["finish_reason"] is None else 1

        def on_body(self, body: bytes) -> None:
            raise AssertionError(body)

    transport = Transport(
        options.client, insecure=True, kernel_timestamps=not options.no_kernel_timestamps
    )
    transport.prewarm(options.streams)
    body = b'{"model":"paced","max_tokens":%d}' % options.tokens[0]
    request = Request("/v1/completions", {"Content-Type": "application/json"}, body)

    def one() -> Exchange:
        sink = Sink()
        exchange = transport.exchange(request, sink)
        assert not exchange.error, exchange.error
        assert len(sink.texts) == options.tokens[0]
        return exchange

    gc.collect()
    gc.freeze()
    gc.disable()
    begun = time.process_time()
    greenlets = []
    for _ in range(options.streams):
        greenlets.append(gevent.spawn(one))
        if options.spread_ms:
            pause(options.spread_ms / options.streams / 1e3)
    gevent.joinall(greenlets, raise_error=True)
    cpu_s = time.process_time() - begun
    exchanges = [g.value for g in greenlets]
    ttft = np.array([e.first_token_time - e.start_time for e in exchanges]) * 1e3
    itl = np.concatenate([np.diff(e.token_times) for e in exchanges]) * 1e3
    figures = {
        "cpu_s": cpu_s,
        "mean_ttft_ms": ttft.mean(),
        "p99_ttft_ms": np.percentile(ttft, 99),
        "mean_itl_ms": itl.mean(),
    }
    figures |= {f"p{p}_itl_ms": np.percentile(itl, p) for p in (50, 99, 99.9)} | {
        "max_itl_ms": itl.max()
    }
    print(json.dumps({name: round(float(value), 6) for name, value in figures.items()}))
    transport.close()


def pause(seconds: float) -> None:
    """Exact where gevent's sleep is not; other greenlets run meanwhile."""
    import gevent

    until = time.perf_counter() + seconds
    gevent.sleep(0)
    while time.perf_counter() < until:
        gevent.sleep(0)


def own_command(options: argparse.Namespace, url: str, tokens: int) -> list[str]:
    command = [
        sys.executable,
        __file__,
        "--client",
        url,
        "--streams",
        str(options.streams),
        "--tokens",
        str(tokens),
        "0",
    ]
    command += ["--spread-ms", str(options.spread_ms)]
    command += ["--no-template"] * options.no_template + [
        "--no-kernel-timestamps"
    ] * options.no_kernel_timestamps
    return command


def cost(options: argparse.Namespace, binary: Path) -> None:
    plain = start(binary, options.ttft, options.itl)
    server = start(binary, options.ttft, options.itl, options.tls) if options.tls else plain
    few, many = options.tokens
    chunks = options.streams * (many - few)
    best: dict[str, float] = {}
    for _ in range(options.repeat):
        for name in ("floor", "transport"):
            cpu = {}
            for tokens in (few, many):
                floor = [
                    str(binary),
                    "read",
                    str(plain.port),
                    str(options.streams),
                    str(tokens),
                    str(options.spread_ms),
                ]
                command = floor if name == "floor" else own_command(options, server.url, tokens)
                cpu[tokens] = run(command)["cpu_s"]
            best[name] = min(best.get(name, 1e9), (cpu[many] - cpu[few]) / chunks * 1e6)
    line = {f"{name}_us_per_chunk": round(value, 2) for name, value in best.items()}
    line["times_floor"] = round(best["transport"] / best["floor"], 2)
    print(
        json.dumps(
            {
                "cost": line,
                "streams": options.streams,
                "spread_ms": options.spread_ms,
                "server": judge(server.stop()),
            }
        )
    )
    if server is not plain:
        plain.stop()


def accuracy(options: argparse.Namespace, binary: Path) -> None:
    ttft_ms, itl_ms, streams = options.accuracy_ttft, options.accuracy_itl, options.accuracy_streams
    server = start(binary, ttft_ms, itl_ms, options.tls)
    options.streams = streams
    seen = run(own_command(options, server.url, options.accuracy_tokens))
    truth = {"ttft_ms": ttft_ms, "itl_ms": itl_ms}
    print(
        json.dumps(
            {"accuracy": seen, "truth": truth, "streams": streams, "server": judge(server.stop())}
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["cost", "accuracy"])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, nargs=2, default=[10, 410], metavar=("FEW", "MANY"))
    parser.add_argument("--ttft", type=float, default=200, metavar="MS")
    parser.add_argument("--itl", type=float, default=20, metavar="MS")
    parser.add_argument("--spread-ms", type=float, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--accuracy-streams", type=int, default=2000)
    parser.add_argument("--accuracy-tokens", type=int, default=150)
    parser.add_argument("--accuracy-ttft", type=float, default=1000, metavar="MS")
    parser.add_argument("--accuracy-itl", type=float, default=40, metavar="MS")
    parser.add_argument(
        "--no-template", action="store_true", help="each event is parsed, as where no two are alike"
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="over TLS (needs OpenSSL's headers); the floor stays plain",
    )
    parser.add_argument(
        "--no-kernel-timestamps",
        action="store_true",
        help="this process's own times, and so no naps",
    )
    options = parser.parse_args()
    if options.client:
        client(options)
        return
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    with tempfile.TemporaryDirectory() as folder:
        binary = build(Path(folder), tls=options.tls)
        if options.only != "accuracy":
            cost(options, binary)
        if options.only != "cost":
            accuracy(options, binary)


if __name__ == "__main__":
    main()
