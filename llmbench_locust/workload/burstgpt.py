"""``burstgpt``: lengths of a CSV trace (rows of GPT-4 with an answer); prompts are made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

COLUMNS = ("Model", "Request tokens", "Response tokens")


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """With ``--self-timed`` the trace as it was (`csv_trace`), else a sample of it."""
    if config.self_timed:
        from llmbench_locust.workload import csv_trace

        return csv_trace.load(config, tokenizer, progress)
    frame = _frame(config.dataset_path)
    n = config.num_prompts
    chosen = frame.sample(n=n, random_state=config.seed, replace=n > len(frame))
    lens = zip(chosen["Request tokens"].tolist(), chosen["Response tokens"].tolist(), strict=True)
    samples = []
    for i, (input_len, output_len) in enumerate(lens):
        ids = ((np.arange(int(input_len)) + i) % tokenizer.vocab_size).tolist()
        request_id = f"{config.request_id_prefix}{i}"
        samples.append(
            SampleRequest(tokenizer.decode(ids), int(input_len), int(output_len), request_id)
        )
        if progress is not None:
            progress(i + 1, n)
    return samples


def _frame(path: str) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as e:
        line = str(e).strip().splitlines()[0]
        raise ConfigError(f"--dataset-path: {path!r} is not CSV ({line})") from None
    for name in COLUMNS:
        if name not in frame.columns:
            raise ConfigError(
                f"--dataset-path: {path!r} has no column {name!r}, which BurstGPT has"
            )
    frame = frame[
        (frame["Model"] == "GPT-4") & (pd.to_numeric(frame["Response tokens"], errors="coerce") > 0)
    ]
    if not len(frame):
        raise ConfigError(f"--dataset-path: {path!r} has no row of GPT-4 with response tokens")
    return frame
