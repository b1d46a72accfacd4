"""Sessions, whose requests wait for one another: code shared by the loaders of session formats.

A loader makes a `SampleRequest` for each request, each after those that it waits for. `number`
repeats or truncates sessions to ``--num-prompts`` or ``--num-sessions`` and assigns request ids. No
clock and no network here.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.values import MOST_TOKENS
from llmbench_locust.workload.files import bad_line
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

Session = list[SampleRequest]
#: The largest finite number; JSON has larger integers.
MOST = sys.float_info.max


def number(sessions: Sequence[Session], config: RunConfig) -> list[SampleRequest]:
    """The requests of the run: the sessions in order, then random repeats if there are too few,
    unless ``--no-oversample``.

    ``--num-sessions`` limits sessions, else ``--num-prompts`` limits requests (the last session is
    truncated), and -1 sends every session once.
    """
    chosen: list[Session] = []
    left = config.num_prompts if config.num_sessions is None else config.num_sessions
    rng = random.Random(config.seed)
    for session in _supply(sessions, rng, repeat=left > 0 and not config.no_oversample):
        if config.num_sessions is None and 0 < left < len(session):
            session = session[:left]
        chosen.append(session)
        left -= len(session) if config.num_sessions is None else 1
        if left == 0:
            break
    found: list[SampleRequest] = []
    for place, session in enumerate(chosen):
        for turn, sample in enumerate(session):
            request_id = f"{config.request_id_prefix}{len(found)}"
            found.append(replace(sample, request_id=request_id, conversation=place, turn=turn))
    return found


def _supply(sessions: Sequence[Session], rng: random.Random, *, repeat: bool) -> Iterable[Session]:
    yield from sessions
    while repeat:
        yield sessions[rng.randrange(len(sessions))]


def capped(delay_s: float, config: RunConfig) -> float:
    """A recorded delay divided by ``--trace-speedup``, at most ``--max-delay``."""
    delay_s /= config.trace_speedup
    return delay_s if config.max_delay_s is None else min(delay_s, config.max_delay_s)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, or one request in it. ``where``: its place for error messages, such as
    "12:". ``names``: our key → the file's key, if they differ.
    """

    config: RunConfig
    where: str
    values: Json
    names: Mapping[str, str] = field(default_factory=dict)

    def error(self, what: str) -> ConfigError:
        return bad_line(self.config, self.where, what)

    def number(self, key: str, default: float | None = None, least: float = 0) -> float:
        """The number under ``key``, at least ``least``; ``default`` if there is none."""
        value = self.values.get(key, default)
        number = None if isinstance(value, bool) else value
        if not isinstance(number, int | float) or not least <= number <= MOST:
            shown = f"is {value!r}" if key in self.values else "is missing"
            name = self.names.get(key, key)
            raise self.error(f"{name!r} {shown}; it must be a number, {least:g} or more")
        return number

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Like `number`, but it must be whole."""
        value = self.number(key, default, least)
        if value != int(value):
            name = self.names.get(key, key)
            raise self.error(f"{name!r} is {value!r}; it must be a whole number")
        if value > MOST_TOKENS:
            raise self.error(f"{self.names.get(key, key)!r} is {value!r}, which is too large")
        return int(value)

    def items(self, key: str, kind: type | tuple[type, ...]) -> list[object]:
        """The list of ``kind`` under ``key``; [] if there is none."""
        value = self.values.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.error(f"{key!r} is not a list in the form of this dataset")
        return value

    def hash_ids(self, size: int, length: int, key: str = "hash_ids") -> list[int | str]:
        """Ids of the blocks of ``size`` tokens at the start of a prompt of ``length`` tokens."""
        ids = [i for i in self.items(key, (int, str)) if isinstance(i, int | str)]
        if ids and (len(ids) - 1) * size >= length:
            raise self.error(f"{len(ids)} hash ids of {size} tokens do not fit {length} tokens")
        return ids

    def messages(self, key: str = "messages") -> list[Json]:
        """Chat messages: objects with a role."""
        found = [message for message in self.items(key, dict) if isinstance(message, dict)]
        if not all(isinstance(message.get("role"), str) for message in found):
            raise self.error(f"a message in {key!r} has no 'role'")
        return found


def token_count(messages: Sequence[Json], tokenizer: Tokenizer | None) -> int:
    """Tokens of the messages' texts and tool calls; 0 without a tokenizer."""
    if tokenizer is None:
        return 0
    texts = [text for message in messages for text in _texts(message)]
    return sum(tokenizer.count_batch(texts)) if texts else 0


def _texts(message: Json) -> list[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [str(part["text"]) for part in parts if isinstance(part, dict) and part.get("text")]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            texts += [str(function.get("name", "")), str(function.get("arguments", ""))]
    return texts


def need_chat(config: RunConfig) -> None:
    """Messages are for chat backends. Raises ConfigError."""
    if not config.backend_info.chat:
        raise ConfigError(
            f"--dataset-name: {config.dataset_name} has chat messages, which --backend "
            f"{config.backend} does not support; use --backend openai-chat"
        )
