"""Sessions as graphs of requests.

``sessions``: JSONL, one request per line, grouped by ``session``; its lines need not be adjacent:

``{"session": "a", "id": "plan", "messages": [{"role": "user", "content": "Plan."}],
"output_tokens": 64}``
``{"session": "a", "id": "part", "after": ["plan"], "history": null, "delay_s": 0.5,
"input_tokens": 300, "output_tokens": 32}``
``{"session": "a", "after": ["plan", "part"], "history": "plan", "messages": [...]}``

* ``after``: ids of the requests that must be answered first. Default: the session's previous line;
  [] starts with the session. ``delay_s``: seconds after the last of these responses; default:
  ``--think-time``.
* ``history``: id of the request whose messages and response precede this one's; null: none.
  Default: the first of ``after``. ``--history recorded`` ignores it.
* ``messages``, ``prompt`` or ``input_tokens`` (with ``hash_ids``, one for each block of
  ``--timed-trace-chunk-hash-size`` tokens): the new part of the prompt. ``output_tokens``: length
  of the response. ``tools`` and ``extra`` (fields of the body) are sent too.
* ``at_s``: start of the session in seconds, for ``--self-timed``; on a later request, the earliest
  time at which it is sent.

``mooncake``: Mooncake's JSONL, one request per line with ``timestamp`` in milliseconds,
``input_length``, ``output_length`` and ``hash_ids`` (blocks of 512 tokens). With AIPerf's fields,
turns of a ``session_id`` follow one another after a ``delay`` in milliseconds. Their lengths are
then those of the new part, and the history has the server's actual responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload import sessions
from llmbench_locust.workload.blocks import Blocks
from llmbench_locust.workload.choose import reference
from llmbench_locust.workload.files import read_jsonl
from llmbench_locust.workload.sample import Progress, Prompt, SampleRequest, silent
from llmbench_locust.workload.sessions import Row, Session, token_count
from llmbench_locust.workload.tokenizer import Tokenizer

_MOONCAKE_BLOCK = 512
#: Our keys and Mooncake's.
_MOONCAKE = {
    "input_tokens": "input_length",
    "output_tokens": "output_length",
    "prompt": "text_input",
    "session": "session_id",
    "at_s": "timestamp",
    "delay_s": "delay",
}


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent, *, mooncake: bool = False
) -> list[SampleRequest]:
    """The requests of ``sessions``, or of ``mooncake``. Raises ConfigError."""
    by_session: dict[str, list[Row]] = {}
    for line, values in read_jsonl(config.dataset_path):
        row = Row(config, f"{line}:", values)
        row = _from_mooncake(row) if mooncake else row
        name = row.values.get("session")
        if not isinstance(name, str | int):
            raise row.error("has no 'session'")
        by_session.setdefault(str(name), []).append(row)
    follow = any(len(rows) > 1 for rows in by_session.values())
    # A response can be appended only to text.
    as_text = follow or not config.backend_info.token_ids
    size = _MOONCAKE_BLOCK if mooncake else config.timed_trace_chunk_hash_size
    blocks = Blocks(tokenizer, size, config.seed, as_text=as_text)
    if any("messages" in row.values for rows in by_session.values() for row in rows):
        sessions.need_chat(config)
    made = [_Graph(rows, blocks, tokenizer).session() for rows in by_session.values()]
    if config.self_timed:
        made.sort(key=lambda session: session[0].due_s or 0.0)
    return sessions.number(made, config)


load_mooncake = partial(load, mooncake=True)


def _from_mooncake(row: Row) -> Row:
    """A Mooncake line in the format of ``sessions``."""
    ours = {theirs: key for key, theirs in _MOONCAKE.items()}
    found = {ours.get(key, key): value for key, value in row.values.items()}
    found.setdefault("session", f"line {row.where}")
    for key in ("timestamp", "delay"):
        if found.pop(ours[key], None) is not None:
            found[ours[key]] = row.number(key) / 1000
    found.setdefault("delay_s", 0)
    if "messages" in found:
        found["history"] = None
    return replace(row, values=found, names=_MOONCAKE)


class _Graph:
    def __init__(self, rows: Sequence[Row], blocks: Blocks, tokenizer: Tokenizer) -> None:
        self._rows, self._blocks, self._tokenizer = rows, blocks, tokenizer
        self._places: dict[str, int] = {}
        for place, row in enumerate(rows):
            name = str(row.values.get("id", place))
            if name in self._places:
                raise row.error(f"the id {name!r} is used twice")
            self._places[name] = place

    def session(self) -> Session:
        """The requests, each after those that it waits for."""
        after = [self._after(place) for place in range(len(self._rows))]
        order = list(self._order(after))
        turn_of = {place: turn for turn, place in enumerate(order)}
        found = []
        for place in order:
            row = self._rows[place]
            history = self._history(row, after[place])
            if history >= 0 and history not in _ancestors(after, place):
                raise row.error("'history' names a request that is not answered before this one")
            sample = self._request(row, place)
            sample.parents = tuple(turn_of[p] for p in after[place])
            sample.history = turn_of.get(history, -1)
            found.append(sample)
        if self._rows[0].config.self_timed:
            found[0].due_s = self._rows[order[0]].number("at_s")
        return found

    def _after(self, place: int) -> list[int]:
        row = self._rows[place]
        if "after" not in row.values:
            return [place - 1] if place else []
        return [self._named(row, name) for name in row.items("after", (str, int))]

    def _history(self, row: Row, after: Sequence[int]) -> int:
        name = row.values.get("history", "")
        if row.config.history == "recorded" or name is None:
            return -1
        return self._named(row, name) if name != "" else after[0] if after else -1

    def _named(self, row: Row, name: object) -> int:
        if str(name) not in self._places:
            raise row.error(f"its session has no request {name!r}")
        return self._places[str(name)]

    def _order(self, after: Sequence[Sequence[int]]) -> Iterator[int]:
        done: set[int] = set()
        while len(done) < len(after):
            able = [p for p in range(len(after)) if p not in done and done >= set(after[p])]
            if not able:
                left = next(p for p in range(len(after)) if p not in done)
                raise self._rows[left].error("its session has requests that wait in a cycle")
            done.update(able)
            yield from able

    def _request(self, row: Row, place: int) -> SampleRequest:
        config, values = row.config, row.values
        messages = row.messages() if "messages" in values else None
        prompt, length = self._prompt(row, place, messages)
        more = values.get("extra") or {}
        if not isinstance(more, dict):
            raise row.error("'extra' is not an object")
        if tools := row.items("tools", dict):
            more = {"tools": tools, **more}
        delay = sessions.capped(row.number("delay_s"), config) if "delay_s" in values else None
        due = row.number("at_s") if config.self_timed and "at_s" in values else None
        output = config.output_len or row.count("output_tokens", config.custom_output_len)
        return SampleRequest(
            prompt,
            length,
            output,
            body_overrides=more or None,
            chat_messages=messages,
            delay_s=delay,
            due_s=due,
            reference=reference(values, config),
        )

    def _prompt(self, row: Row, place: int, messages: list[Json] | None) -> tuple[Prompt, int]:
        if messages is not None:
            return "", token_count(messages, self._tokenizer)
        prompt: Prompt | None = row.values.get("prompt")
        if prompt is not None:
            if not isinstance(prompt, str):
                raise row.error(f"'prompt' is {prompt!r}; it must be a string")
        else:
            length = row.count("input_tokens")
            ids = row.hash_ids(self._blocks.size, length)
            prompt = self._blocks.prompt(ids, length, own=row.where)
            if not isinstance(prompt, str):
                return prompt, length
        return prompt, self._tokenizer.count_batch([prompt], add_special_tokens=place == 0)[0]


def _ancestors(after: Sequence[Sequence[int]], place: int) -> set[int]:
    found: set[int] = set()
    todo = list(after[place])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += after[one]
    return found
