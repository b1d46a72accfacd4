#!/usr/bin/env python3
"""This project beside `vllm bench serve` and SGLang's Rust client: CPU per streamed chunk, and how
true the times are.

    python benchmarks/compare.py                              # all clients installed here
    python benchmarks/compare.py --vllm /opt/vllm/bin/vllm    # vLLM of another environment
    python benchmarks/compare.py --sglang /path/to/_bench.so  # SGLang's Rust extension

The others count as installed when `vllm` is on the PATH and when `sglang` can be imported by this
Python. Whole commands are measured, as a user types them, against the server and beside the floor
of `chunk_cost.py` (which see): Linux, a C compiler, two cores. One JSON object a line:

* cpu: microseconds of the whole process tree per chunk, by slope: a run of many tokens an answer
  less one of few, each the lowest of ``--repeat`` runs. `floor` is a C loop that only reads and
  takes the time. Starting up is in both runs and varies (vLLM's imports by more than a second,
  which is 15 µs a chunk with the usual counts): for vLLM, ``--tokens 10 2010``.
* accuracy: what each client reports of a server that keeps TTFT and ITL exactly, with how late the
  server itself was.

Figures move with the machine and its load: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chunk_cost import HERE, Server, build, judge, pin, run

ROOT = HERE.parent
TOKENIZER = ROOT / "llmbench_locust" / "data" / "tokenizer"
CLIENT_CORE = 1
# Loads the extension alone: the package around it wants a GPU's libraries.
RUST = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_bench", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.run_argv(["sglang-bench", *sys.argv[2:]])
"""

# url, tokens an answer, streams, folder of the result -> a command that writes r.json there
Command = Callable[[str, int, int, Path], list[str]]


def ours(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "serve.py"), "--headless",
        *common(url, tokens, streams), "--save-result", "--result-dir", str(folder),
        "--result-filename", "r.json",
    ]  # fmt: skip


def common(url: str, tokens: int, streams: int) -> list[str]:
    words = f"""--backend openai --base-url {url} --model paced --tokenizer {TOKENIZER}
    --dataset-name random --random-input-len 16 --random-output-len {tokens}
    --num-prompts {streams} --disable-tqdm
    --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,99"""
    return words.split()


def vllm(program: str) -> Command:
    def command(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
        result = ["--save-result", "--result-dir", str(folder), "--result-filename", "r.json"]
        return [program, "bench", "serve", *common(url, tokens, streams), *result]

    return command


def sglang(extension: str) -> Command:
    def command(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
        words = f"""--backend vllm --base-url {url} --model paced --tokenizer {TOKENIZER}
        --dataset-name random-ids --random-input-len 16 --random-range-ratio 1.0
        --random-output-len {tokens} --num-prompts {streams} --disable-tqdm
        --worker-threads 1 --output-file {folder / "r.json"}"""
        return [sys.executable, "-c", RUST, extension, *words.split()]

    return command


def installed_sglang() -> str | None:
    spec = importlib.util.find_spec("sglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for extension in sorted(Path(folder).glob("srt/rust_extensions/_bench*.so")):
            return str(extension)
    return None


def measured(command: list[str]) -> float:
    """CPU seconds of the whole process tree."""
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


def cost(options: argparse.Namespace, binary: Path, clients: dict[str, Command]) -> None:
    server = Server(binary, 200, 20)
    few, many = options.tokens
    chunks = options.streams * (many - few)
    floor = [
        run([str(binary), "read", str(server.port), str(options.streams), str(tokens), "0"])[
            "cpu_s"
        ]
        for tokens in (few, many)
    ]
    per_chunk = {"floor": (floor[1] - floor[0]) / chunks * 1e6}
    for name, command in clients.items():
        with tempfile.TemporaryDirectory() as folder:
            short, long = (
                min(
                    measured(command(server.url, tokens, options.streams, Path(folder)))
                    for _ in range(options.repeat)
                )
                for tokens in (few, many)
            )
        per_chunk[name] = (long - short) / chunks * 1e6
    line: dict[str, Any] = {name: round(value, 2) for name, value in per_chunk.items()}
    line["times_floor"] = {
        name: round(value / per_chunk["floor"], 2)
        for name, value in per_chunk.items()
        if name != "floor"
    }
    line["ours_over"] = {
        n: round(per_chunk["ours"] / v, 3)
        for n, v in per_chunk.items()
        if n not in ("ours", "floor")
    }
    print(
        json.dumps(
            {"cpu_us_per_chunk": line, "streams": options.streams, "server": judge(server.stop())}
        ),
        flush=True,
    )


def accuracy(options: argparse.Namespace, binary: Path, clients: dict[str, Command]) -> None:
    for name, command in clients.items():
        server = Server(binary, 1000, 40)
        with tempfile.TemporaryDirectory() as folder:
            measured(command(server.url, 150, options.accuracy_streams, Path(folder)))
            found = json.loads((Path(folder) / "r.json").read_text().splitlines()[-1])
        names = [
            "completed",
            *(
                f"{figure}_{of}_ms"
                for of in ("ttft", "itl")
                for figure in ("mean", "median", "p99")
            ),
        ]
        figures = {key: round(found[key], 3) for key in names if found.get(key) is not None}
        truth = {"ttft_ms": 1000, "itl_ms": 40}
        print(
            json.dumps(
                {"accuracy": name, "truth": truth, **figures, "server": judge(server.stop())}
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vllm",
        default=shutil.which("vllm"),
        help="vLLM's command; the one on the PATH by default",
    )
    parser.add_argument(
        "--sglang",
        default=installed_sglang(),
        help="SGLang's _bench extension; the installed one by default",
    )
    parser.add_argument("--only", choices=["cpu", "accuracy"])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, nargs=2, default=[10, 410], metavar=("FEW", "MANY"))
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--accuracy-streams", type=int, default=2000)
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    clients: dict[str, Command] = {"ours": ours}
    for name, what, make in (
        ("vllm bench serve", options.vllm, vllm),
        ("sglang (Rust)", options.sglang, sglang),
    ):
        if what is None:
            print(f"{name}: not installed here, left out", file=sys.stderr)
        elif not Path(what).is_file():
            parser.error(f"{what}: no such file")
        else:
            clients[name] = make(str(what))
    with tempfile.TemporaryDirectory() as folder:
        binary = build(Path(folder), tls=False)
        if options.only != "accuracy":
            cost(options, binary, clients)
        if options.only != "cpu":
            accuracy(options, binary, clients)


if __name__ == "__main__":
    main()
