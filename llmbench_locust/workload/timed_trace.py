"""``timed_trace``: JSONL traces with times, lengths and block hashes, as published by Mooncake and
Qwen.

``{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}``: a
hash id stands for a block of ``--timed-trace-chunk-hash-size`` tokens (Mooncake 512, Qwen 16); the
last block may be shorter. In the synthetic prompts equal ids give equal tokens, and different ids
differ from their first token on, so that prompts share exactly the prefixes that the trace says.
Tokens beyond the last id are unique to the request.

Times become ``due_s`` by ``--timed-trace-sec-multiplier`` (0.001 for milliseconds), unless
``--no-self-timed``. Backends that take token ids get ids. The others get text, made block by block
so that it shares the same prefixes.
"""

from __future__ import annotations

import math

from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.values import MOST_TOKENS
from llmbench_locust.workload.blocks import Blocks
from llmbench_locust.workload.files import bad_line, read_jsonl
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sessions import MOST, Row
from llmbench_locust.workload.tokenizer import Tokenizer

#: Texts that are counted in one call, in the library's threads.
_BATCH = 32


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The first ``--num-prompts`` lines of the trace, in order; fewer if it is shorter."""
    rows = read_jsonl(config.dataset_path)[: config.num_prompts]
    ids_wanted = config.backend_info.token_ids
    blocks = Blocks(
        tokenizer, config.timed_trace_chunk_hash_size, config.seed, as_text=not ids_wanted
    )
    samples = []
    for i, (line, row) in enumerate(rows):
        input_len = int(_number(row, line, config, "input_length", 1))
        output_len = int(_number(row, line, config, "output_length", 1))
        named = config.timed_trace_label_hash_ids
        hashes = Row(config, f"{line}:", row).hash_ids(blocks.size, input_len, named)
        sample = SampleRequest(
            blocks.prompt(hashes, input_len, own=f"line {line}"),
            input_len,
            output_len,
            f"{config.request_id_prefix}{i}",
        )
        if config.self_timed:
            time = _number(row, line, config, "timestamp", -MOST)
            sample.due_s = time * config.timed_trace_sec_multiplier
        samples.append(sample)
        if not ids_wanted and (len(samples) % _BATCH == 0 or len(samples) == len(rows)):
            _count(samples[-((len(samples) - 1) % _BATCH + 1) :], tokenizer)
        progress(i + 1, len(rows))
    return samples


def _count(samples: list[SampleRequest], tokenizer: Tokenizer) -> None:
    """Set the lengths of texts: decoded tokens may encode to a different number of tokens."""
    counts = tokenizer.count_batch([str(s.prompt) for s in samples], add_special_tokens=True)
    for sample, count in zip(samples, counts, strict=True):
        sample.prompt_len = count


def _number(row: Json, line: int, config: RunConfig, flag: str, least: float) -> float:
    """The value under the key that --timed-trace-label-FLAG names; an integer if ``least`` is 1."""
    label = getattr(config, f"timed_trace_label_{flag}")
    value = row.get(label)
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
    if least <= number <= (MOST_TOKENS if least == 1 else MOST) and (
        least < 1 or number == int(number)
    ):
        return float(number)
    there = f"is missing (there are {', '.join(map(repr, row))})"
    wrong = f"is {value!r}" if label in row else there
    allowed = f"a whole number from 1 to {MOST_TOKENS}" if least == 1 else "a number"
    named = f"--timed-trace-label-{flag.replace('_', '-')}"
    raise bad_line(config, f"{line}:", f"{label!r} {wrong}; it must be {allowed} ({named})")
