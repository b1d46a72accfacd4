"""`llmbench capacity` against queues whose capacity is known: docs/capacity.md has the figures.

``python benchmarks/capacity.py [CASE …]``: end to end over HTTP. Each case is a server of this
file, with c places, first come first served, and a fixed time in a place: an M/D/c queue, whose
true capacity comes from a long simulation. A case takes up to five minutes.

``python benchmarks/capacity.py grid CASE``: the same over HTTP, and beside it what a user would do
otherwise: `llmbench sweep serve_workload`, ten rates from the serial to the largest throughput,
three runs of 1,000 requests each. 30 to 60 minutes.

``python benchmarks/capacity.py simulated [SEEDS [QUEUE …]]``: how often the interval holds the
truth, for the queues of tests/experiments/queues.py, and beside it that grid, simulated.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmbench_locust.arrivals import arrival_offsets
from llmbench_locust.experiments.evidence import Goal
from llmbench_locust.experiments.search import Settings, search
from llmbench_locust.statistics.blocks import runs_interval
from tests.experiments.queues import QUEUES, Queue

BUDGET, SEED = 10_000, 90_000_000
RATES, RUNS, REQUESTS, GRIDS = 10, 3, 1000, 5
TOKENS = 8
EVENT = b'data: {"choices":[{"text":" a","finish_reason":null}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":%d}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def case(places: int, ttft_ms: float, itl_ms: float, limit_ms: float, share: float) -> Queue:
    return Queue(places, ttft_ms / 1000, itl_ms / 1000, TOKENS, limit_ms / 1000, share, 0.0)


#: Margins of 10 ms and more beside the limit: the machine's own delays must not decide.
CASES = (
    case(16, 20, 40, 60, 0.90),
    case(4, 10, 6, 50, 0.95),
    case(24, 20, 40, 70, 0.99),
    case(32, 30, 50, 100, 0.95),
    case(1, 10, 1.5, 80, 0.90),
)


def attainment(queue: Queue, due: np.ndarray) -> float:
    return float(np.mean(queue.waits(due) + queue.ttft <= queue.limit))


def true_capacity(queue: Queue) -> float:
    """By bisection, of 400,000 simulated Poisson arrivals."""
    unit = np.cumsum(np.random.default_rng(1).exponential(1.0, 400_000))
    low, high = 0.05 * queue.places / queue.hold, queue.places / queue.hold
    while high / low > 1.001:
        middle = (low + high) / 2
        met = attainment(queue, unit / middle) >= queue.share
        low, high = (middle, high) if met else (low, middle)
    return low


# --- the server


async def serve(queue: Queue) -> None:
    places = asyncio.Semaphore(queue.places)  # wakes those that wait in their order
    clock = asyncio.get_running_loop().time
    freed, held = deque([clock()] * queue.places), []  # since when each place is free; its uses

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if head.startswith(b"GET"):
                    body = b'{"data":[{"id":"queue"}]}' if b"/v1/models" in head else b""
                    body = str(np.mean(held)).encode() if b"/held" in head else body
                    status = b"200 OK" if body or b"/health" in head else b"404 Not Found"
                    size = str(len(body)).encode()
                    writer.write(
                        b"HTTP/1.1 " + status + b"\r\nContent-Length: " + size + b"\r\n\r\n" + body
                    )
                    continue
                arrived = clock()
                async with places:
                    begun = max(arrived, freed.popleft())
                    await stream(writer)
                    freed.append(clock())
                    held.append(freed[-1] - begun)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stream(writer: asyncio.StreamWriter) -> None:
        begun = clock()
        writer.write(HEAD)
        for k in range(TOKENS):
            at = begun + queue.ttft + k * queue.itl
            await asyncio.sleep(max(0.0, at - clock()))
            writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        end = USAGE % TOKENS + b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- what measures it


@contextmanager
def server(number: int) -> Iterator[str]:
    """The URL of a server of the case."""
    command = [sys.executable, __file__, "serve", str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()


def over_http(number: int) -> str:
    """A line: the truth, what the search says, and what it took."""
    queue, begun = CASES[number], time.monotonic()
    with server(number) as url, tempfile.TemporaryDirectory() as folder:
        found = searched(queue, url, true_capacity(queue) / 16, folder)
        held = float(requests.get(f"{url}/held", timeout=10).text)
    # What the server's own timers add to each use of a place belongs to its capacity.
    truth = true_capacity(replace(queue, itl=(held - queue.ttft) / (TOKENS - 1)))
    sent = sum(probe["requests"] for probe in found["probes"])
    low, high, at = (found[key] or float("nan") for key in ("low", "high", "capacity"))
    held = "holds it" if low <= truth <= high else f"DOES NOT HOLD IT ({found['verdict']})"
    return (
        f"{queue.places:>2} places, {queue.limit * 1000:g} ms, {queue.share:.0%}: "
        f"true {truth:.3g}/s, found {at:.3g} ({at / truth - 1:+.1%}), {low:.3g} to {high:.3g} "
        f"{held}, {sent:,} requests, {time.monotonic() - begun:.0f} s"
    )


def searched(queue: Queue, url: str, lowest: float, folder: str) -> dict:
    """capacity.json of `llmbench capacity` in ``folder``."""
    llmbench(
        f"capacity {flags(queue, url)} --num-warmups 8 --result-dir out "
        f"--attainment {queue.share} --min {lowest:.2f} --budget {BUDGET}req",
        folder,
    )
    return json.loads(next(Path(folder, "out").rglob("capacity.json")).read_text())


def flags(queue: Queue, url: str) -> str:
    return (
        f"--base-url {url} --model queue --tokenizer llmbench --random-input-len 8 --disable-tqdm "
        f"--random-output-len {TOKENS} --goodput ttft:{queue.limit * 1000:g}"
    )


def llmbench(words: str, folder: str) -> None:
    command = [sys.executable, "-m", "llmbench_locust", *words.split()]
    subprocess.run(command, check=False, cwd=folder, stdout=subprocess.DEVNULL)


def grid_over_http(number: int) -> str:
    """A line: the rates that the grid shows to meet and to miss the objective, and its cost."""
    queue, begun = CASES[number], time.monotonic()
    with server(number) as url, tempfile.TemporaryDirectory() as folder:
        llmbench(
            f"sweep serve_workload --workload-iters {RATES} --num-runs {RUNS} -o out -- "
            f"{flags(queue, url)} --num-prompts {REQUESTS}",
            folder,
        )
        shares, sent = defaultdict(list), 0
        for file in Path(folder).rglob("run=[0-9].json"):
            run = json.loads(file.read_text())
            sent += run["completed"] + run["failed"]
            shares[float(run["request_rate"])].append(run["llmbench"]["slo_attainment"]["all"])
    rates = {rate: found for rate, found in shares.items() if rate < math.inf}
    met, missed = between(rates, queue)
    return (
        f"grid of {', '.join(f'{rate:.3g}' for rate in sorted(rates))}/s: met at {met:.3g}, "
        f"missed at {missed:.3g}, ±{(missed - met) / (missed + met):.0%}, {sent:,} requests, "
        f"{time.monotonic() - begun:.0f} s"
    )


def simulated(queue: Queue, seeds: int) -> str:
    """A row of the table: coverage, and the half-width of the grid beside it."""
    wanted = Settings((Goal("ttft", queue.share),), budget_s=None, budget_requests=BUDGET)
    answers = [
        search(queue.probe, replace(wanted, seed=SEED + 1000 * number)) for number in range(seeds)
    ]
    held = np.mean([(a.low or 0) <= queue.capacity <= (a.high or np.inf) for a in answers])
    near = np.mean([abs((a.load or 0) / queue.capacity - 1) <= 0.05 for a in answers])
    half = np.median([a.found.half_width for a in answers if a.found])
    sent = np.mean([sum(o.requests for o in a.probes) for a in answers])
    beside = np.median([grid(queue, number) for number in range(GRIDS)])
    return (
        f"| {queue.places}, {queue.limit * 1000:g} ms, {queue.share:.0%} | {queue.capacity:.4g}/s "
        f"| {held:.0%} | {near:.0%} | {half:.1%} | {sent:,.0f} | ±{beside:.0%} |"
    )


def grid(queue: Queue, seed: int) -> float:
    """Half-width between the rates that three runs each show to meet and to miss the objective."""
    shares = {
        rate: [
            attainment(queue, arrival_offsets(REQUESTS, request_rate=rate, seed=100 * seed + run))
            for run in range(RUNS)
        ]
        for rate in np.linspace(1 / queue.hold, queue.places / queue.hold, RATES)
    }
    met, missed = between(shares, queue)
    return (missed - met) / (missed + met)


def between(shares: dict[float, list[float]], queue: Queue) -> tuple[float, float]:
    """The largest rate shown to meet the objective, and the smallest shown to miss it."""
    intervals = {rate: runs_interval(found) for rate, found in shares.items()}
    met = [rate for rate, found in intervals.items() if found.low >= queue.share]
    missed = [rate for rate, found in intervals.items() if found.high < queue.share]
    return max(met, default=0.0), min(missed, default=queue.places / queue.hold)


def main(argv: list[str]) -> None:
    if argv[:1] == ["serve"]:
        asyncio.run(serve(CASES[int(argv[1])]))
    elif argv[:1] == ["simulated"]:
        seeds, *some = map(int, argv[1:] or [100])
        for number in some or range(len(QUEUES)):
            print(simulated(QUEUES[number], seeds), flush=True)
    elif argv[:1] == ["grid"]:
        for line in (over_http, grid_over_http):
            print(line(int(argv[1])), flush=True)
    else:
        for number in map(int, argv or range(len(CASES))):
            print(over_http(number), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
