"""`llmbench capacity` end to end, against servers whose capacity is known, and beside a grid.

``python benchmarks/capacity.py [CASE …]``: each case is a server of this file, with c places, first
come first served, and a fixed time in a place: an M/D/c queue over HTTP. Its true capacity comes
from a long simulation of the same queue. ``python benchmarks/capacity.py grid`` measures the first
case as `vllm bench sweep serve_workload` does: ten rates from the serial to the largest throughput,
three runs of 1,000 requests each.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TOKENS = 8
RATES, RUNS, REQUESTS = 10, 3, 1000
EVENT = b'data: {"choices":[{"text":" a","finish_reason":null}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":%d}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Queue:
    """``places``; milliseconds from a place to the first token, between tokens, and allowed for the
    first one; the share that must meet that.
    """

    places: int
    ttft_ms: float
    itl_ms: float
    limit_ms: float
    share: float

    @property
    def hold_s(self) -> float:
        return (self.ttft_ms + (TOKENS - 1) * self.itl_ms) / 1000

    def met(self, rate: float, n: int = 400_000) -> float:
        """Share of ``n`` simulated Poisson arrivals that meet the limit."""
        due = np.cumsum(np.random.default_rng(1).exponential(1 / rate, n))
        start = due.copy()
        for k in range(self.places, n, self.places):
            rows = slice(k, min(k + self.places, n))
            before = slice(k - self.places, rows.stop - self.places)
            np.maximum(due[rows], start[before] + self.hold_s, out=start[rows])
        return float(np.mean((start - due) * 1000 + self.ttft_ms <= self.limit_ms))

    def capacity(self) -> float:
        low, high = 0.05 * self.places / self.hold_s, self.places / self.hold_s
        while high / low > 1.001:
            middle = (low + high) / 2
            low, high = (middle, high) if self.met(middle) >= self.share else (low, middle)
        return low


#: Margins of 10 ms and more beside the limit: the machine's own delays must not decide.
CASES = (
    Queue(16, 20, 40, 60, 0.90),
    Queue(4, 20, 30, 80, 0.95),
    Queue(24, 20, 40, 70, 0.99),
    Queue(32, 30, 50, 100, 0.95),
    Queue(1, 10, 4, 120, 0.90),
)


# --- the server


async def serve(queue: Queue) -> None:
    places = asyncio.Semaphore(queue.places)  # wakes those that wait in their order

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if head.startswith(b"GET"):
                    body = b'{"data":[{"id":"queue"}]}' if b"/v1/models" in head else b""
                    status = b"200 OK" if body or b"/health" in head else b"404 Not Found"
                    size = str(len(body)).encode()
                    writer.write(
                        b"HTTP/1.1 " + status + b"\r\nContent-Length: " + size + b"\r\n\r\n" + body
                    )
                    continue
                async with places:
                    await stream(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stream(writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        writer.write(HEAD)
        for k in range(TOKENS):
            at = begun + (queue.ttft_ms + k * queue.itl_ms) / 1000
            await asyncio.sleep(max(0.0, at - clock()))
            writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        end = USAGE % TOKENS + b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- what measures it


def run(case: int, folder: str, *words: str) -> None:
    """One command of llmbench against a server of its own."""
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(case)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        one = ["--base-url", url, "--model", "queue", "--tokenizer", "llmbench", "--num-warmups"]
        two = ["8", "--random-input-len", "8", "--random-output-len", str(TOKENS)]
        goodput = ["--goodput", f"ttft:{CASES[case].limit_ms:g}", "--disable-tqdm"]
        subprocess.run(
            [sys.executable, "-m", "llmbench_locust", *words, *one, *two, *goodput],
            check=False,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
    finally:
        server.kill()


def search(case: int) -> str:
    """A line: the truth, what the search says, and what it took."""
    queue, begun = CASES[case], time.monotonic()
    truth = queue.capacity()
    with tempfile.TemporaryDirectory() as folder:
        words = ("--attainment", str(queue.share), "--budget", "10000req", "--result-dir", "out")
        run(case, folder, "capacity", *words, "--min", str(round(truth / 16, 2)))
        found = json.loads(next(Path(folder, "out").rglob("capacity.json")).read_text())
    requests = sum(probe["requests"] for probe in found["probes"])
    low, high, at = (found[key] or float("nan") for key in ("low", "high", "capacity"))
    held = "holds it" if low <= truth <= high else "MISSES IT"
    return (
        f"{queue.places:>2} places, {queue.limit_ms:g} ms, {queue.share:.0%}: true {truth:.3g}/s, "
        f"found {at:.3g} ({at / truth - 1:+.1%}), {low:.3g} to {high:.3g} {held}, "
        f"{requests:,} requests, {time.monotonic() - begun:.0f} s"
    )


def grid(case: int) -> str:
    """The rates between which a grid with three runs at each rate shows the capacity to be."""
    from llmbench_locust.statistics.blocks import runs_interval

    queue, begun = CASES[case], time.monotonic()
    met, missed, sent = 0.0, float("inf"), 0
    for rate in np.linspace(1 / queue.hold_s, queue.places / queue.hold_s, RATES).round(2):
        with tempfile.TemporaryDirectory() as folder:
            words = ("--save-result", "--result-dir", folder, "--request-rate", str(rate))
            for seed in range(RUNS):
                size = ("--num-prompts", str(REQUESTS), "--seed", str(seed))
                run(case, folder, "serve", *words, *size, "--result-filename", f"{seed}.json")
            files = [json.loads(f.read_text()) for f in Path(folder).glob("*.json")]
        interval = runs_interval([f["llmbench"]["slo_attainment"]["all"] for f in files])
        assert interval is not None
        sent += RUNS * REQUESTS
        met = max(met, rate) if interval.low >= queue.share else met
        missed = min(missed, rate) if interval.high < queue.share else missed
        print(f"  {rate:g}/s: {interval.low:.1%} to {interval.high:.1%}", flush=True)
    half = (missed - met) / (missed + met)
    return (
        f"grid, {queue.places} places: between {met:g} and {missed:g} (±{half:.0%}), "
        f"{sent:,} requests, {time.monotonic() - begun:.0f} s"
    )


def main(argv: list[str]) -> None:
    if argv[:1] == ["serve"]:
        asyncio.run(serve(CASES[int(argv[1])]))
    elif argv[:1] == ["grid"]:
        print(grid(0), flush=True)
    else:
        for case in map(int, argv or range(len(CASES))):
            print(search(case), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
