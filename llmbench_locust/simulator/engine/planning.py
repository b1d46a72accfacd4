"""Plans the response to a request: tokens, events, text. Reproducible by seed and prompt."""

from __future__ import annotations

import random
from dataclasses import replace

from llmbench_locust.simulator.ask import Ask, Refusal
from llmbench_locust.simulator.engine.text import PLAIN, UNICODE, Plan, Vocabulary, escaped, grouped
from llmbench_locust.simulator.faults import Faults
from llmbench_locust.simulator.settings import Settings

_PLAIN = Vocabulary(PLAIN)
_UNICODE = Vocabulary(UNICODE)


def job_seed(settings: Settings, sha: str) -> int:
    return settings.seed * 1_000_003 + int(sha, 16)


def output_tokens(ask: Ask, settings: Settings, faults: Faults, seed: int) -> tuple[int, str]:
    """(tokens of one choice, finish reason). Raises Refusal if they exceed the model's length."""
    limit = settings.max_model_len
    if ask.prompt_tokens > limit:
        raise Refusal(
            400,
            f"prompt of {ask.prompt_tokens} tokens is longer than max_model_len={limit}.",
            param="prompt",
        )
    if ask.max_tokens is None:
        wanted = min(settings.default_output, max(1, limit - ask.prompt_tokens))
        return wanted, "stop"
    if ask.prompt_tokens + ask.max_tokens > limit:
        raise Refusal(
            400,
            f"max_tokens={ask.max_tokens} cannot be greater than max_model_len={limit} less "
            f"{ask.prompt_tokens} prompt tokens."
            f" Please request fewer output tokens. (parameter=max_tokens, value={ask.max_tokens})",
            param="max_tokens",
        )
    count = ask.max_tokens
    if faults.short and faults.short < count:
        return faults.short, "stop"
    if faults.limit and faults.limit < count:
        return faults.limit, "length"
    if settings.early_stop and not ask.ignore_eos and count > 1:
        draw = random.Random(seed ^ 0x5EED)
        if draw.random() < settings.early_stop:
            return max(ask.min_tokens, draw.randrange(1, count), 1), "stop"
    return count, "length"


def make_plan(ask: Ask, settings: Settings, faults: Faults, seed: int) -> Plan:
    """The plan of the response to ``ask``. Raises Refusal."""
    count, finish = output_tokens(ask, settings, faults, seed)
    texts = (_UNICODE if faults.unicode and not ask.tool_calls else _PLAIN).take(seed, count)
    if ask.tool_calls:
        finish = "tool_calls"
        first = min(ask.reasoning, count - 1)
        texts = list(texts)
        texts[first] = escaped('{"city": "') + texts[first]
        texts[-1] += escaped('"}')
    if faults.empty_text:
        texts = [b""] * count
    reasoning = min(ask.reasoning, count)
    plan = Plan(
        texts,
        count,
        finish,
        reasoning=reasoning,
        tool=ask.tool_calls,
        draft_tokens=settings.spec_tokens,
    )
    if settings.spec_tokens:
        draw = random.Random(seed ^ 0xD4AF7).random
        sizes: list[int] = []
        while sum(sizes) < count:
            size = 1
            while size <= settings.spec_tokens and draw() < settings.spec_acceptance:
                size += 1
            sizes.append(size)
    elif faults.tokens_per_chunk > 1:
        sizes = [faults.tokens_per_chunk] * (count // faults.tokens_per_chunk + 1)
    else:
        return plan
    if reasoning:  # an event is reasoning or answer, never both
        head, first_part = grouped(texts[:reasoning], sizes)
        tail, second_part = grouped(texts[reasoning:], sizes)
        cumulative = first_part + [reasoning + done for done in second_part]
        return replace(plan, pieces=head + tail, cumulative=cumulative, reasoning=len(head))
    pieces, cumulative = grouped(texts, sizes)
    return replace(plan, pieces=pieces, cumulative=cumulative)
