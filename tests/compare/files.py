"""Result files of runs of a queue whose truth is known, as vLLM writes them."""

import json

import numpy as np

from tests.statistics import queues


def document(run, *, detailed=True, **more):
    """A result of `queues.run`; times in seconds."""
    n = len(run.ttft)
    ttft, tokens = run.ttft, int(queues.TOKENS)
    found = {
        "backend": "vllm",
        "model_id": "m",
        "num_prompts": n,
        "request_rate": 8.0,
        "max_concurrency": None,
        "duration": float(run.end.max() - run.start.min()),
        "completed": n,
        "failed": 0,
        "total_input_tokens": 10 * n,
        "total_output_tokens": tokens * n,
        "output_throughput": float(run.throughput),
        "request_throughput": float(run.throughput) / tokens,
        "latencies": (run.end - run.start).tolist(),
        "mean_ttft_ms": float(ttft.mean() * 1000),
        "p99_ttft_ms": float(np.percentile(ttft, 99) * 1000),
    }
    if detailed:
        gap = (run.end - run.start - ttft) / (tokens - 1)
        found |= {
            "input_lens": [10] * n,
            "output_lens": [1, *[tokens] * (n - 1)],
            "ttfts": ttft.tolist(),
            "start_times": run.start.tolist(),
            "itls": [[g] * 3 for g in gap.tolist()],
            "errors": [""] * n,
        }
    return found | more


def write(path, *documents):
    path.write_text("\n".join(json.dumps(d) for d in documents))
    return str(path)
