"""``--cache-bust``: a salt at the start of each prompt, so that no run finds the prompts of an
earlier one in the server's prefix cache.

The salt replaces as many tokens as it has, so lengths do not change, and prompts with the same salt
still share their prefixes. Pure, except `new_salt`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.sample import Prompt, SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

#: Prompts that are encoded in one call.
BATCH = 256
#: Tried in turn until the length is unchanged: (tokens to remove beyond the salt's own number, text
#: to add after the salt). The number may differ because the salt's last token may merge with the
#: next one, and a character of several tokens is removed as a whole.
TRIES = (
    *((more, "") for more in (0, 1, -1, 2, -2)),
    *((more, filler) for filler in (" a", " a a", " a a a") for more in (1, 2, 3, 4)),
)
#: A placeholder message, used to find the text that the chat template puts before one.
_MESSAGE = "llmbench-message-5d20"


def new_salt() -> str:
    """A new random salt, independent of the seed."""
    return f"[{secrets.token_hex(5)}]"


def salted(
    samples: Sequence[SampleRequest], salts: Sequence[str], tokenizer: Tokenizer
) -> list[SampleRequest]:
    """Each sample with its salt at the start. A turn that continues another one is unchanged.
    ``prompt_len`` changes only if none of `TRIES` keeps the length.
    """
    heads, found = _template_heads(tokenizer), []
    for begin in range(0, len(samples), BATCH):
        part = list(zip(samples[begin : begin + BATCH], salts[begin : begin + BATCH], strict=True))
        fronts = [_fronts(sample) for sample, _ in part]
        texts = [text for front in fronts for text in front]
        own = [salt for (_, salt), front in zip(part, fronts, strict=True) for _ in front]
        changed = iter(_replaced(texts, own, heads, tokenizer))
        for (sample, salt), front in zip(part, fronts, strict=True):
            if _token_ids(sample.prompt) and sample.continues < 0:
                ids = tokenizer.encode(salt, add_special_tokens=False)
                found.append(replace(sample, prompt=_salted_ids(sample.prompt, ids)))
            else:
                found.append(_with_fronts(sample, list(islice(changed, len(front)))))
    return found


# --- finding the start of a request


def _token_ids(prompt: Prompt) -> bool:
    first: Any = prompt[0] if isinstance(prompt, list) and prompt else None
    return isinstance(first, int) or (isinstance(first, list) and bool(first))


def _salted_ids(prompt: Any, salt: list[int]) -> Any:
    if isinstance(prompt[0], list):
        return [_salted_ids(ids, salt) for ids in prompt]
    return [*salt, *prompt[len(salt) :]][: len(prompt)]


def _messages(sample: SampleRequest) -> Any:
    """Messages or content parts; None if the prompt is text."""
    prompt: Any = sample.prompt if sample.chat_messages is None else sample.chat_messages
    return prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict) else None


def _fronts(sample: SampleRequest) -> list[str]:
    """The texts at the start of what the server sees: one, or one for each prompt of a batch."""
    messages = _messages(sample)
    if sample.continues >= 0 or _token_ids(sample.prompt):
        return []
    if messages is None:
        prompt: Any = sample.prompt
        return [prompt] if isinstance(prompt, str) else list(prompt)
    return [_text_of(messages[0])]


def _text_of(message: Any) -> str:
    """The text of a message or part; "" if it begins with something else, such as an image."""
    content = message.get("content", message.get("text"))
    if isinstance(content, list):
        return _text_of(content[0]) if content else ""
    return content if isinstance(content, str) else ""


def _with_fronts(sample: SampleRequest, changed: list[tuple[str, int]]) -> SampleRequest:
    """The sample with its `_fronts` replaced. ``changed``: (text, how many tokens longer it is)."""
    if not changed:
        return sample
    texts, length = [text for text, _ in changed], sample.prompt_len + sum(n for _, n in changed)
    messages, prompt = _messages(sample), sample.prompt
    if messages is None:
        whole: Any = texts if isinstance(prompt, list) else texts[0]
        return replace(sample, prompt=whole, prompt_len=length)
    new = _parts_with(messages, texts[0])
    if sample.chat_messages is None:
        return replace(sample, prompt=new, prompt_len=length)
    return replace(sample, chat_messages=new, prompt_len=length)


def _parts_with(parts: list[Any], text: str) -> list[Any]:
    """Messages or parts with ``text`` as the first text; adds a part if the first is not text."""
    first = parts[0]
    if isinstance(first.get("content"), list):
        return [{**first, "content": _parts_with(first["content"], text)}, *parts[1:]]
    key = next((key for key in ("content", "text") if isinstance(first.get(key), str)), None)
    if key is None and "role" not in first:
        return [{"type": "text", "text": text}, *parts]
    return [{**first, key or "content": text}, *parts[1:]]


# --- keeping the number of tokens


def _template_heads(tokenizer: Tokenizer) -> list[str]:
    """What the chat template puts before the first message, longest first."""
    heads = set()
    for role in ("user", "system"):
        messages = [{"role": role, "content": _MESSAGE}, {"role": "user", "content": "."}]
        try:
            text = tokenizer.apply_chat_template(messages[: 2 if role == "system" else 1])
        except ConfigError:  # without a template, or without that role
            continue
        heads.add(text.partition(_MESSAGE)[0])
    return sorted(heads, key=len, reverse=True)


def _replaced(
    texts: list[str], salts: list[str], heads: list[str], tokenizer: Tokenizer
) -> list[tuple[str, int]]:
    """(text with its first tokens replaced by its salt, how many tokens longer it became) for each.

    A text that begins with a chat template keeps the template's beginning.
    """
    starts = [next((len(h) for h in heads if text.startswith(h)), 0) for text in texts]
    bodies = [text[start:] for text, start in zip(texts, starts, strict=True)]
    ids, lengths = tokenizer.encode_batch(bodies), tokenizer.count_batch(texts)
    own = _fitting(salts, [len(body) for body in ids], tokenizer)
    best: dict[int, tuple[str, int]] = {}
    for slack, filler in TRIES:
        rows = [i for i in range(len(texts)) if i not in best or best[i][1]]
        if not rows:
            break
        gone = tokenizer.decode_batch([ids[i][: max(0, own[i][1] + slack)] for i in rows])
        tries = [
            texts[i][: starts[i]] + own[i][0] + filler + bodies[i][len(front) :]
            for i, front in zip(rows, gone, strict=True)
        ]
        for i, text, count in zip(rows, tries, tokenizer.count_batch(tries), strict=True):
            longer = count - lengths[i]
            if i not in best or abs(longer) < abs(best[i][1]):
                best[i] = (text, longer)
    return [best[i] for i in range(len(texts))]


def _fitting(salts: list[str], lengths: list[int], tokenizer: Tokenizer) -> list[tuple[str, int]]:
    """(salt, its number of tokens) for each text. A salt longer than its text (unless empty) is
    truncated to the length of the text.
    """
    known = dict.fromkeys(salts)
    ids = dict(zip(known, tokenizer.encode_batch(list(known)), strict=True))
    found = []
    for salt, length in zip(salts, lengths, strict=True):
        whole = not 0 < length < len(ids[salt])
        text = salt if whole else tokenizer.decode(ids[salt][:length])
        found.append((text, len(ids[salt]) if whole else length))
    return found
