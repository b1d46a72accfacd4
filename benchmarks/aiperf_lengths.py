#!/usr/bin/env python3
"""Whether AIPerf and llmbench make requests of the same lengths from the same traces.

    python benchmarks/aiperf_lengths.py /path/to/aiperf

AIPerf (PyPI's `aiperf`, in an environment of its own) plays each trace with two workers, then
llmbench plays it: a Mooncake trace of single requests, one of turns, and a Weka session with a
sub-agent. Both talk to the simulator, whose log has the tokens of each prompt and response.

One JSON object a trace: the lengths of both, in order, and ``apart``, the largest difference of two
prompts as a share. Output lengths must be equal, and prompts within 3%: AIPerf sends a Weka prompt
as several messages, each of which costs tokens of the chat template. Half a minute a trace, most
of it AIPerf's own start.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from llmbench_locust.simulator.launch import launch

TOKENIZER = Path(__file__).parents[1] / "llmbench_locust/data/tokenizer"
MOST_APART = 0.03
Lengths = list[tuple[int, int]]

SINGLE = [
    {"timestamp": 0, "input_length": 1300, "output_length": 40, "hash_ids": [0, 1, 2]},
    {"timestamp": 100, "input_length": 1290, "output_length": 12, "hash_ids": [0, 1, 3]},
    {"timestamp": 100, "input_length": 90, "output_length": 300, "hash_ids": [4]},
    {"timestamp": 250, "input_length": 512, "output_length": 7, "hash_ids": [5]},
    {"timestamp": 300, "input_length": 2048, "output_length": 64, "hash_ids": [0, 1, 6, 7]},
]
TURNS = [
    {"session_id": "a", "timestamp": 0, "input_length": 1024, "output_length": 60},
    {"session_id": "a", "delay": 150, "input_length": 200, "output_length": 30},
    {"session_id": "a", "delay": 50, "input_length": 77, "output_length": 11},
    {"session_id": "b", "timestamp": 100, "input_length": 600, "output_length": 20},
    {"session_id": "b", "delay": 100, "input_length": 90, "output_length": 5},
]
MAIN, SUB = list(range(1, 16)), list(range(20, 27))


def call(t: float, tokens: int, out: int, hash_ids: list[int]) -> dict[str, object]:
    lengths = {"in": tokens, "out": out, "hash_ids": hash_ids}
    return {"t": t, "type": "n", "model": "sim", "api_time": 0.3, **lengths}


WEKA = {
    "id": "s1",
    "models": ["sim"],
    "block_size": 64,
    "hash_id_scope": "local",
    "tool_tokens": 128,
    "system_tokens": 192,
    "requests": [
        call(0.0, 1000, 80, MAIN),
        {
            "t": 0.7,
            "type": "subagent",
            "agent_id": "agent_001",
            "subagent_type": "Explore",
            "status": "completed",
            "duration_ms": 1000,
            "total_tokens": 700,
            "tool_use_count": 2,
            "models": ["sim"],
            "requests": [call(0.8, 500, 40, SUB), call(1.3, 620, 9, [*SUB, 27, 28])],
        },
        call(2.0, 1200, 60, [*MAIN, 30, 31, 32]),
        call(2.6, 1456, 21, [*MAIN, 30, 31, 32, 33, 34, 35, 36]),
    ],
}


def sent(command: list[str], log: Path) -> Lengths:
    """(prompt tokens, response tokens) of each request that ``command`` sends, in order of size."""
    before = len(log.read_text().splitlines()) if log.exists() else 0
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{command[0]}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    rows = map(json.loads, log.read_text().splitlines()[before:])
    return sorted((row["prompt_tokens"], row["output_tokens"]) for row in rows)


def compare(kind: str, trace: Path, requests: int, options: tuple[str, str, Path]) -> bool:
    aiperf, url, log = options
    theirs = [aiperf, "profile", "--model", "sim", "--url", url, "--endpoint-type", "chat"]
    theirs += ["--streaming", "--tokenizer", str(TOKENIZER), "--input-file", str(trace)]
    theirs += ["--custom-dataset-type", f"{kind}_trace", "--workers-max", "2", "--ui", "none"]
    theirs += ["--artifact-dir", str(trace.with_suffix(".aiperf"))]
    if kind == "weka":  # which it would play again and again
        theirs += ["--concurrency", "1", "--request-count", str(requests)]
    ours = [sys.executable, "-m", "llmbench_locust", "serve", "--base-url", url, "--model", "sim"]
    ours += ["--tokenizer", "llmbench", "--backend", "openai-chat", "--dataset-name", kind]
    ours += ["--dataset-path", str(trace), "--num-prompts", "-1", "--ready-check-timeout-sec", "0"]
    a, b = sent(theirs, log), sent(ours, log)
    apart = max(abs(x - y) / y for (x, _), (y, _) in zip(a, b, strict=False))
    same = sorted(o for _, o in a) == sorted(o for _, o in b) and apart <= MOST_APART
    found = {"trace": trace.stem, "same": same, "apart": round(apart, 4)}
    print(json.dumps({**found, "aiperf": a, "llmbench": b}), flush=True)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("aiperf", help="AIPerf's program")
    aiperf = parser.parse_args().aiperf
    with tempfile.TemporaryDirectory() as folder:
        traces = [
            ("mooncake", Path(folder, "single.jsonl"), SINGLE),
            ("mooncake", Path(folder, "turns.jsonl"), TURNS),
            ("weka", Path(folder, "weka.json"), [WEKA]),
        ]
        log = Path(folder, "requests.log")
        flags = ["--log", str(log), "--clock", "fixed", "--ttft-ms", "5", "--itl-ms", "1"]
        with launch(flags) as sim:
            same = []
            for kind, path, rows in traces:
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                same.append(compare(kind, path, 5, (aiperf, sim.url, log)))
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
