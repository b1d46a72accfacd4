"""Sessions as the simulator saw them: what came after what, and what it shared."""

from collections import Counter

import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import locust
from tests.workload.common import write_jsonl

SESSIONS = 4
COMMON = ("--tokenizer", "llmbench", "--disable-tqdm", "--num-prompts", -1)


def played(dataset, rows, tmp_path, *flags, sim=()):
    """The requests at the simulator, in the order of the plan. ``last``: when the last token was
    written (``end`` is when it had seen to everything, which the client need not wait for).
    """
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with launch(["--clock", "fixed", "--ttft-ms", "30", "--itl-ms", "5", *sim]) as server:
        done = locust(
            *("--base-url", server.url, *COMMON, "--request-id-prefix", "g-"),
            *("--dataset-name", dataset, "--dataset-path", path, *flags),
        )
        seen = requests.get(f"{server.url}/sim/stats", timeout=5).json()["requests"]
    assert done.returncode == 0, done.stdout + done.stderr
    counts = Counter(s["request_id"] for s in seen)
    ours = [s for s in seen if s["request_id"].startswith("g-") and counts[s["request_id"]] == 1]
    return sorted(ours, key=lambda s: int(s["request_id"][2:]))


def graph(session):
    """A plan, three parts of it at once, and what is made of them."""
    user = [{"role": "user", "content": f"session {session}"}]
    parts = [
        {"session": session, "id": f"p{n}", "after": ["plan"], "history": None,
         "delay_s": 0.1 * n, "input_tokens": 20, "output_tokens": 4 + n}
        for n in range(3)
    ]  # fmt: skip
    return [
        {"session": session, "id": "plan", "messages": user, "output_tokens": 4},
        *parts,
        {"session": session, "after": ["p0", "p1", "p2"], "history": "plan", "delay_s": 0.2,
         "messages": user, "output_tokens": 3},
    ]  # fmt: skip


def test_no_request_comes_before_those_it_waits_for_and_its_delay(tmp_path):
    rows = [row for session in range(SESSIONS) for row in graph(session)]
    flags = ("--backend", "openai-chat", "--concurrent-sessions", 2, "--ready-check-timeout-sec", 0)
    seen = played("sessions", rows, tmp_path, *flags, "--model", "sim")
    assert len(seen) == len(rows)
    for first in range(0, len(seen), 5):
        plan, *parts, end = seen[first : first + 5]
        for n, part in enumerate(parts):
            assert part["t"] >= plan["last"] + 0.1 * n
        assert end["t"] >= max(part["last"] for part in parts) + 0.2
        # Its history is the plan and the response to it.
        assert end["prompt_tokens"] > plan["prompt_tokens"] + plan["output_tokens"]
    # Two sessions at once, and no third.
    spans = [(seen[i]["t"], seen[i + 4]["last"]) for i in range(0, len(seen), 5)]
    assert max(sum(b <= t < e for b, e in spans) for t, _ in spans) == 2


def call(t, ids, tokens):
    return {"t": t, "type": "n", "in": tokens, "out": 3, "hash_ids": ids, "api_time": 0.1}


def test_prompts_share_the_blocks_that_the_trace_says(tmp_path):
    calls = [call(0.0, [1, 2], 128), call(0.2, [1, 2, 3], 192), call(0.4, [1, 9, 3], 192)]
    rows = [{"id": f"s{n}", "block_size": 64, "requests": calls} for n in range(SESSIONS)]
    sim = ("--prefix-cache", "1000", "--block-size", "64")
    flags = ("--request-rate", 5, "--ready-check-timeout-sec", 0, "--model", "sim")
    seen = played("weka", rows, tmp_path, *flags, sim=sim)
    assert [s["prompt_tokens"] for s in seen] == [128, 192, 192] * SESSIONS
    # Ids mean something within their session only: nothing is shared between two.
    assert [s["cached_tokens"] for s in seen] == [0, 128, 64] * SESSIONS
