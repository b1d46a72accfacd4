"""How much the prompts of a workload share. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from llmbench_locust.json_types import JsonValue
from llmbench_locust.workload.sample import SampleRequest

#: About 16 tokens of English, the block size of most prefix caches.
BLOCK_BYTES = 64


@dataclass(frozen=True, slots=True)
class Sharing:
    """``prefix_share``: the share of the prompts' tokens that an unlimited, initially empty cache
    would serve; None if unknown, because prompts contain earlier responses. It is an upper bound
    for media: a prompt with repeated media counts as served completely.
    """

    requests: int
    distinct: int
    prompt_tokens: int
    prefix_share: float | None = None


def sharing(
    samples: Sequence[SampleRequest],
    *,
    prefixes: bool,
    rehearsed: bool = False,
    sizes: Sequence[tuple[int, int]] = (),
) -> Sharing:
    """``prefixes``: also compute ``prefix_share``, which hashes every block of every prompt.
    ``rehearsed``: the first prompt was already sent before the run. ``sizes``: (tokens of the
    prompt with its history, tokens of the response) as sent; without them, nothing is known about
    prompts that contain earlier responses.
    """
    texts = [_bytes(sample) for sample in samples]
    whole = [place for place, sample in enumerate(samples) if sample.continues < 0]
    share, tokens = None, sum(sample.prompt_len for sample in samples)
    if prefixes and (len(whole) == len(samples) or sizes):
        sent = [(texts[i], samples[i].prompt_len) for i in whole]
        share = max(_prefix_share(sent, rehearsed), _known_media(samples))
        if len(whole) < len(samples):
            share, tokens = _with_histories(samples, sizes, share)
    return Sharing(len(samples), _distinct(samples, texts), tokens, share)


def _distinct(samples: Sequence[SampleRequest], texts: Sequence[bytes]) -> int:
    """A prompt that continues another one is distinct if that one is."""
    whole: dict[tuple[int | None, int | None], bytes] = {}
    found = set()
    for sample, text in zip(samples, texts, strict=True):
        before = whole.get((sample.conversation, sample.continues), b"")
        key = hashlib.sha256(before + text).digest()
        whole[sample.conversation, sample.turn] = key
        found.add(key)
    return len(found)


def _with_histories(
    samples: Sequence[SampleRequest], sizes: Sequence[tuple[int, int]], share: float
) -> tuple[float, int]:
    """(share, prompt tokens) of all prompts. A prompt that continues another begins with that
    prompt and its response; ``share`` is that of the others.
    """
    place = {(s.conversation, s.turn): i for i, s in enumerate(samples)}
    asked, served = 0, 0.0
    for sample, (prompt, _) in zip(samples, sizes, strict=True):
        asked += prompt
        if sample.continues < 0:
            served += share * prompt
        else:
            before = sizes[place[sample.conversation, sample.continues]]
            served += min(prompt, sum(before))
    return served / max(1, asked), asked


def _bytes(sample: SampleRequest) -> bytes:
    text = sample.prompt if sample.chat_messages is None else sample.chat_messages
    media = sample.multi_modal
    if isinstance(text, str) and media is None:
        return text.encode("utf-8", "surrogatepass")
    return orjson.dumps([text, media], default=_of_raw)


def _known_media(samples: Sequence[SampleRequest]) -> float:
    """The share of requests whose media occurred in an earlier request."""
    media = [
        hashlib.sha256(orjson.dumps(sample.multi_modal, default=_of_raw)).digest()
        for sample in samples
        if sample.multi_modal is not None
    ]
    return (len(media) - len(set(media))) / max(1, len(samples))


def _of_raw(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _common_prefix(a: bytes, b: bytes) -> int:
    """The length of the common prefix."""
    if a == b:
        return len(a)
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _prefix_share(prompts: Sequence[tuple[bytes, int]], rehearsed: bool) -> float:
    """Follows chains of blocks of the texts. Where a text leaves the known chains, it may still
    share the beginning of the block that came there first. ``prompts``: (text, its tokens).
    """
    after: dict[int, bytes] = {}
    seen: set[int] = set()
    served = 0.0
    for text, tokens in [*prompts[:1], *prompts] if rehearsed else prompts:
        chain, at_front, shared = 0, True, 0
        for start in range(0, len(text), BLOCK_BYTES):
            block = text[start : start + BLOCK_BYTES]
            before, chain = chain, hash((chain, block))
            if at_front:
                at_front = chain in seen
                first = block if at_front else after.get(before, b"")
                shared += _common_prefix(block, first)
            after.setdefault(before, block)
            seen.add(chain)
        served += tokens * shared / max(1, len(text))
    return min(1.0, served / max(1, sum(tokens for _, tokens in prompts)))


def digest(samples: Iterable[SampleRequest]) -> str:
    """sha256 (hex) over prompts, media and lengths, in order. Request ids are not part of it."""
    found = hashlib.sha256()
    for s in samples:
        what = (s.prompt, s.prompt_len, s.expected_output_len)
        more = (s.multi_modal, s.chat_messages, s.body_overrides)
        found.update(orjson.dumps((*what, *more), default=_plain, option=orjson.OPT_SORT_KEYS))
    return found.hexdigest()


def _plain(value: object) -> JsonValue:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
