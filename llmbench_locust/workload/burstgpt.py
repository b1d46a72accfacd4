"""``burstgpt``: lengths of a CSV trace (rows of GPT-4 with an answer); prompts are made up."""

from __future__ import annotations

from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect
from llmbench_locust.workload.csv_trace import load as load_timed
from llmbench_locust.workload.csv_trace import made_up
from llmbench_locust.workload.sample import Progress, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

COLUMNS = ("Model", "Request tokens", "Response tokens")


def load(config: RunConfig, tokenizer: Tokenizer, progress: Progress = None) -> list[SampleRequest]:
    """With ``--self-timed`` the trace as it was (`csv_trace`), else a sample of it."""
    if config.self_timed:
        return load_timed(config, tokenizer, progress)
    frame = _frame(config.dataset_path)
    n = config.num_prompts
    chosen = frame.sample(n=n, random_state=config.seed, replace=n > len(frame))
    lens = zip(chosen["Request tokens"].tolist(), chosen["Response tokens"].tolist(), strict=True)
    made = (
        SampleRequest(made_up(i, int(length), tokenizer), int(length), int(output))
        for i, (length, output) in enumerate(lens)
    )
    return collect(made, config, progress, n)


def _frame(path: str) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as e:
        line = str(e).strip().splitlines()[0]
        raise ConfigError(f"--dataset-path: {path!r} is not CSV ({line})") from None
    for name in COLUMNS:
        if name not in frame.columns:
            raise ConfigError(f"--dataset-path: {path!r} has no column {name!r}, as BurstGPT has")
    answered = pd.to_numeric(frame["Response tokens"], errors="coerce") > 0
    frame = frame[(frame["Model"] == "GPT-4") & answered]
    if not len(frame):
        raise ConfigError(f"--dataset-path: {path!r} has no row of GPT-4 with response tokens")
    return frame
