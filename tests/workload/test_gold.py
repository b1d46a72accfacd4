"""Every dataset against what vLLM itself sampled: prompts, lengths, ids, order, for each seed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmbench_locust.backends import backend_info
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.tokenizers import load_tokenizer
from tests.workload.common import config as parsed

DATA = Path(__file__).parent.parent / "data"
CASES = sorted(p.stem for p in (DATA / "vllm").glob("*@*.json"))

NAMES = {
    "input_len": "random_input_len",
    "output_len": "random_output_len",
    "range_ratio": "random_range_ratio",
    "batchsize": "random_batch_size",
    "prefix_len": "random_prefix_len",
}
REPETITION = {
    k: f"prefix_repetition_{k}" for k in ("prefix_len", "suffix_len", "num_prefixes", "output_len")
}


def config(dataset, **values):
    info = values.pop("backend_info", backend_info("openai"))
    return replace(
        parsed("--tokenizer", DATA / "tokenizer"),
        dataset_name=dataset,
        backend_info=info,
        **values,
    )


def config_of(dataset, args, seed):
    values = {"seed": seed}
    for key, value in args.items():
        if key == "is_reranker":
            values["no_reranker"] = not value
        elif key == "chat_formatted":
            values["backend_info"] = replace(backend_info("openai"), chat=not value)
        elif key == "dataset_path":
            values[key] = str(DATA / value)
        elif dataset == "prefix_repetition" and key in REPETITION:
            values[REPETITION[key]] = value
        else:
            values[NAMES.get(key, key)] = value
    if "random_range_ratio" in values and not isinstance(values["random_range_ratio"], tuple):
        ratio = values["random_range_ratio"]
        values["random_range_ratio"] = (
            (ratio["input"], ratio["output"]) if isinstance(ratio, dict) else (ratio, ratio)
        )
    if values.get("random_batch_size", 1) > 1:
        values["backend_info"] = backend_info("openai-embeddings")
    return config(dataset, **values)


def sha(prompt):
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("case", CASES)
def test_equal_to_vllm(case):
    gold = json.loads((DATA / "vllm" / f"{case}.json").read_text())
    for run in gold["runs"]:
        made = config_of(gold["dataset"], gold["args"], run["seed"])
        requests = load_requests(made, load_tokenizer(made))
        assert [r.prompt for r in requests[: len(run.get("first_prompts", []))]] == run.get(
            "first_prompts", []
        )
        ours = [
            (sha(r.prompt), r.prompt_len, r.expected_output_len, r.request_id) for r in requests
        ]
        theirs = [
            (q["prompt_sha"], q["prompt_len"], q["output_len"], q["request_id"] or f"g-{i}")
            for i, q in enumerate(run["requests"])
        ]
        assert ours == theirs
