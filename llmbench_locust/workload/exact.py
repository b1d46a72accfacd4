"""Text prompts of an exact number of tokens. The same seed gives the same prompts as in vLLM.

Decoding tokens and encoding the text again may change their number. The text is encoded again,
truncated or extended with random tokens, and tried again, at most ten times. Each round handles
many prompts at once, in the library's threads. All prompts draw from one generator, in order: a
prompt draws when all before it are done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmbench_locust.workload.sample import Progress, silent
from llmbench_locust.workload.tokenizer import Tokenizer

RETRIES = 10
#: Prompts that are decoded and encoded in one call.
BATCH = 256

#: Returns the given number of random token ids.
Draw = Callable[[int], list[int]]


def exact_prompts(
    tokenizer: Tokenizer,
    sequences: Sequence[list[int]],
    targets: Sequence[int],
    draw: Draw,
    progress: Progress = silent,
) -> list[tuple[str, list[int]]]:
    """(text, its token ids) for each prompt; the target number of ids, unless tries ran out."""
    found: list[tuple[str, list[int]]] = []
    for begin in range(0, len(sequences), BATCH):
        end = min(begin + BATCH, len(sequences))
        found += _batch(tokenizer, sequences[begin:end], targets[begin:end], draw)
        progress(end, len(sequences))
    return found


def exact_prompt(
    tokenizer: Tokenizer, ids: list[int], target: int, draw: Draw
) -> tuple[str, list[int]]:
    return exact_prompts(tokenizer, [ids], [target], draw)[0]


@dataclass(slots=True)
class _Prompt:
    ids: list[int]
    target: int
    text: str = ""
    retries: int = RETRIES
    done: bool = False
    short: bool = False


def _batch(
    tokenizer: Tokenizer, sequences: Sequence[list[int]], targets: Sequence[int], draw: Draw
) -> list[tuple[str, list[int]]]:
    prompts = [_Prompt(list(ids), target) for ids, target in zip(sequences, targets, strict=True)]
    first = 0
    while True:
        active = [p for p in prompts if not p.done and not p.short]
        texts = tokenizer.decode_batch([p.ids for p in active])
        for prompt, text, ids in zip(active, texts, tokenizer.encode_batch(texts), strict=True):
            prompt.text, prompt.ids = text, ids
            _judge(prompt)
        while first < len(prompts) and prompts[first].done:
            first += 1
        if first == len(prompts):
            return [(p.text, p.ids) for p in prompts]
        head = prompts[first]
        if head.short:
            # Only the first unfinished prompt may draw, to keep the order of draws.
            head.ids = head.ids + draw(head.target - len(head.ids))
            head.short = False


def _judge(prompt: _Prompt) -> None:
    """After a decode and an encode: mark as done, truncate, or mark as too short."""
    length = len(prompt.ids)
    if length == prompt.target or prompt.retries == 0:
        prompt.done = True
        return
    prompt.retries -= 1
    if length > prompt.target:
        prompt.ids = prompt.ids[: prompt.target]
    else:
        prompt.short = True
