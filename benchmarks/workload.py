"""How long the workload takes to make: ours beside vLLM's way, both in this process, one after the
other.

    python benchmarks/workload.py [--num-prompts 1000] [--input-len 1024] [--tokenizer DIR]

vLLM's way: each prompt by itself through transformers' wrapper: decode, encode, again until the
length fits; a ShareGPT entry is encoded question and answer by themselves.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from llmbench_locust.options.config import RunConfig, build_config
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.random_tokens import draw_lengths, row, tokens_without
from llmbench_locust.workload.tokenizers import DEFAULT_TOKENIZER, load_tokenizer


def config(**values: object) -> RunConfig:
    given = {name: str(value) for name, value in values.items()}
    return build_config(SimpleNamespace(host=None, request_id_prefix="b-", **given))


def random_one_by_one(made: Any, tokenizer: Any, ours: Any) -> list[tuple[str, int]]:
    rng = np.random.default_rng(made.seed)
    lens, _, offsets = draw_lengths(
        rng, made.num_prompts, (0.0, 0.0), (made.random_input_len, made.random_output_len), ours
    )
    allowed = tokens_without(ours, ours.all_special_ids)
    found = []
    for i in range(made.num_prompts):
        ids, target = row(allowed, int(offsets[i]) + i, int(lens[i])), int(lens[i])
        for left in range(10, -1, -1):
            text = tokenizer.decode(ids)
            ids = tokenizer.encode(text, add_special_tokens=False)
            if len(ids) == target or left == 0:
                break
            missing = target - len(ids)
            ids = (
                ids + rng.integers(0, tokenizer.vocab_size, size=missing).tolist()
                if missing > 0
                else ids[:target]
            )
        found.append((text, len(ids)))
    return found


def sharegpt_one_by_one(made: Any, tokenizer: Any) -> int:
    with open(made.dataset_path, encoding="utf-8") as f:
        data = json.load(f)
    random.Random(made.seed).shuffle(data)
    kept = 0
    for entry in data:
        if kept >= made.num_prompts:
            break
        q, a = (len(tokenizer(entry["conversations"][i]["value"]).input_ids) for i in (0, 1))
        kept += 4 <= q <= 1024 and a >= 4 and q + a <= 2048
    return kept


def timed(name: str, ours: Any, theirs: Any) -> None:
    began = time.perf_counter()
    mine = ours()
    middle = time.perf_counter()
    other = theirs()
    end = time.perf_counter()
    ratio = (middle - began) / (end - middle)
    figures = {
        "ours_s": round(middle - began, 3),
        "one_by_one_s": round(end - middle, 3),
        "ratio": round(ratio, 3),
    }
    print(json.dumps({"workload": name, "requests": len(mine), **figures}))
    assert not isinstance(other, list) or [text for text, _ in other] == [r.prompt for r in mine]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-prompts", type=int, default=1000)
    parser.add_argument("--input-len", type=int, default=1024)
    parser.add_argument("--sharegpt", type=int, default=10_000, help="conversations")
    parser.add_argument("--tokenizer", default=str(DEFAULT_TOKENIZER))
    args = parser.parse_args()

    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(args.tokenizer)
    made = config(
        tokenizer=args.tokenizer, num_prompts=args.num_prompts, random_input_len=args.input_len
    )
    ours = load_tokenizer(made)
    timed(
        "random", lambda: load_requests(made, ours), lambda: random_one_by_one(made, theirs, ours)
    )

    rng = random.Random(1)
    words = [ours.decode([i]) for i in range(300, ours.vocab_size)]

    def text(n: int) -> str:
        return "".join(rng.choices(words, k=n))

    data = [
        {
            "id": str(i),
            "conversations": [
                {"value": text(rng.randint(10, 300))},
                {"value": text(rng.randint(10, 400))},
            ],
        }
        for i in range(args.sharegpt)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(data, file)
        file.flush()
        talk = config(
            dataset_name="sharegpt",
            dataset_path=file.name,
            tokenizer=args.tokenizer,
            num_prompts=args.sharegpt,
        )
        timed(
            "sharegpt", lambda: load_requests(talk, ours), lambda: sharegpt_one_by_one(talk, theirs)
        )


if __name__ == "__main__":
    main()
