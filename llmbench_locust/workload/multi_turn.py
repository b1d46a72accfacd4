"""Multi-turn conversations: ``--dataset-name sharegpt --multi-turn``. No clock and no network here.

The contract with the dispatcher:

* `load` returns the turns of each conversation in order. ``conversation`` counts from 0 over the
  workload, ``turn`` from 0 within the conversation. A turn has only its own new text, so that a
  history is in memory only while its conversation runs.
* Turn 0 is an ordinary request, timed by the arrival process. A later turn is due a think time
  (`think_times`) after the previous response is complete. Then the dispatcher calls `next_request`
  and sends its result.
* The history has the server's actual responses, not those of the dataset, unless ``--history
  recorded`` is given. The dataset's responses only set the requested lengths.
* A failed turn ends its conversation, because the history would have a gap.

For a chat backend the history is messages. For a text backend it is the text so far, the response
and the new turn, joined by the tokenizer's chat template if there is one (and no
``--skip-chat-template``), else by line breaks. The template is applied here, at load time, so that
a worker needs no tokenizer.

``--num-prompts`` counts requests, as everywhere; the last conversation is truncated to fit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import JsonValue
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import shuffle
from llmbench_locust.workload.files import read_conversations
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sessions import number
from llmbench_locust.workload.tokenizer import Tokenizer

_USERS = frozenset(("human", "user"))
_ASSISTANTS = frozenset(("gpt", "assistant", "chatgpt", "bing", "bard", "model"))
#: A placeholder response, used to find the text that the chat template puts after one.
_ANSWER = "llmbench-answer-8c1f"
Pair = tuple[str, str]


def next_request(
    previous: SampleRequest,
    answer_text: str,
    following: SampleRequest,
    tokenizer: Tokenizer | None,
    chat: bool,
) -> SampleRequest:
    """``following`` with its history: ``previous``, as it was sent, and the response to it.

    ``chat``: whether the body has messages. ``prompt_len`` includes the history; the response
    counts with its tokens or, without a tokenizer, with its requested length. The arguments are not
    modified.
    """
    if tokenizer is not None:
        answer_len = len(tokenizer.encode(answer_text, add_special_tokens=False))
    else:
        answer_len = previous.expected_output_len or 0
    prompt_len = previous.prompt_len + answer_len + following.prompt_len
    if chat:
        history = previous.chat_messages or [{"role": "user", "content": previous.prompt}]
        own = following.chat_messages or [{"role": "user", "content": following.prompt}]
        messages = [*history, {"role": "assistant", "content": answer_text}, *own]
        return replace(following, prompt_len=prompt_len, chat_messages=messages)
    text = f"{previous.prompt}{answer_text}{following.prompt}"
    return replace(following, prompt_len=prompt_len, prompt=text)


def think_times(config: RunConfig, n: int) -> list[float]:
    """The think time in seconds before each of ``n`` requests: uniform between the two bounds of
    ``--think-time``, by seed; constant if they are equal.
    """
    (low, high), rng = config.think_time, random.Random(config.seed)
    return [rng.uniform(low, high) for _ in range(n)] if high > low else [low] * n


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The turns of ShareGPT conversations, ``config.num_prompts`` of them.

    Conversations are filtered and shuffled by their first turn, as in vLLM for single turns. A
    conversation ends before the first later turn whose text or response breaks the same length
    limits. If there are too few, conversations are repeated at random unless ``--no-oversample``.
    Raises ConfigError.
    """
    entries = [entry["conversations"] for entry in read_conversations(config)]
    shuffle(entries, config)
    render = _renderer(config, tokenizer)
    conversations: list[list[SampleRequest]] = []
    total = 0
    for pairs in map(_pairs, entries):
        turns = list(_turns(pairs, config, tokenizer, render))
        if turns:
            if config.history == "recorded":
                turns = _recorded(turns, pairs, tokenizer, config.backend_info.chat)
            conversations.append(turns)
            total += len(turns)
            progress(min(total, config.num_prompts), config.num_prompts)
        enough = total if config.num_sessions is None else len(conversations)
        if enough >= (config.num_sessions or config.num_prompts):
            break
    if not conversations:
        raise ConfigError(
            f"--dataset-path: no conversation of {config.dataset_path!r} is left after filtering; "
            "the first turn must have 4 to 1024 tokens, its answer at least 4, both at most 2048"
        )
    return number(conversations, config)


def _recorded(
    turns: list[SampleRequest], pairs: Sequence[Pair], tokenizer: Tokenizer, chat: bool
) -> list[SampleRequest]:
    """Each turn with its full history, using the dataset's responses."""
    found = turns[:1]
    for (_, answer), turn in zip(pairs, turns[1:], strict=False):
        whole = next_request(found[-1], answer, turn, tokenizer, chat)
        found.append(replace(whole, history=-1))
    return found


def _pairs(turns: Sequence[JsonValue]) -> list[Pair]:
    """(question, answer) pairs from the first question on, up to where they stop alternating."""
    said = [(str(t.get("from", "")).lower(), t.get("value")) for t in turns if isinstance(t, dict)]
    if any(who in _USERS for who, _ in said):
        while said[0][0] not in _USERS:
            said.pop(0)
    pairs = []
    for (asks, question), (answers, answer) in zip(said[::2], said[1::2], strict=False):
        if asks in _ASSISTANTS or answers in _USERS:
            break
        if not isinstance(question, str) or not isinstance(answer, str):
            break
        pairs.append((question, answer))
    return pairs


def _turns(
    pairs: Sequence[Pair],
    config: RunConfig,
    tokenizer: Tokenizer,
    render: Callable[[str, bool], str],
) -> Iterator[SampleRequest]:
    for place, (question, answer) in enumerate(pairs):
        own_len, answer_len = len(tokenizer.encode(question)), len(tokenizer.encode(answer))
        output_len = config.sharegpt_output_len or answer_len
        if own_len > 1024 or own_len + output_len > 2048:
            return
        if place == 0 and (own_len < 4 or (output_len < 4 and config.sharegpt_output_len is None)):
            return
        if not question or output_len < 1:
            return
        prompt = render(question, place == 0)
        prompt_len = own_len
        if prompt != question:
            prompt_len = len(tokenizer.encode(prompt, add_special_tokens=place == 0))
        yield SampleRequest(prompt, prompt_len, output_len)


def _renderer(config: RunConfig, tokenizer: Tokenizer) -> Callable[[str, bool], str]:
    """(text, is it the first turn) → the text to send, in the chat template if there is one."""
    if config.backend_info.chat:
        return lambda text, first: text
    if config.skip_chat_template or tokenizer.chat_template is None:
        return lambda text, first: text if first else "\n" + text

    kwargs = {"add_generation_prompt": True, **config.chat_template_kwargs}

    def templated(text: str, first: bool) -> str:
        user = {"role": "user", "content": text}
        if first:
            return str(tokenizer.apply_chat_template([user], **kwargs))
        before = [{"role": "user", "content": "."}, {"role": "assistant", "content": _ANSWER}]
        whole = str(tokenizer.apply_chat_template([*before, user], **kwargs))
        _, mark, rest = whole.partition(_ANSWER)
        return rest if mark else "\n" + text

    return templated
