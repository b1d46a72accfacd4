"""Recorded conversations as chat messages.

``messages``: JSONL, one conversation per line, as in fine-tuning data and agent frameworks:
``{"messages": [{"role": "user", …}, {"role": "assistant", …}, …], "tools": […], "delays": […]}``.
``vllm_multi_turn``: the JSON file of vLLM's benchmark_serving_multi_turn, a list of
``{"id": …, "messages": […]}``.

Each assistant message is the response to one request and sets its length; the messages after the
last response make a request, too. ``delays``: seconds before each request after the first. With
``--history real`` a request's history has the server's actual responses, with ``recorded`` those of
the file. The default is real, but recorded for conversations with tool calls, because recorded tool
results would not match actual calls.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload import sessions
from llmbench_locust.workload.files import read_json, read_jsonl
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sessions import Row, Session, token_count
from llmbench_locust.workload.tokenizer import Tokenizer


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of the conversations in the file. Raises ConfigError."""
    sessions.need_chat(config)
    lines = read_jsonl(config.dataset_path)
    return _requests([Row(config, f"{n}:", row) for n, row in lines], tokenizer, progress)


def load_vllm(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of a file of vLLM's benchmark_serving_multi_turn. Raises ConfigError."""
    sessions.need_chat(config)
    found = read_json(config.dataset_path)
    if not isinstance(found, list) or not found or not all(isinstance(e, dict) for e in found):
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} is not a list of objects with 'messages'"
        )
    rows = [Row(config, f"(conversation {n})", entry) for n, entry in enumerate(found, 1)]
    return _requests(rows, tokenizer, progress)


def _requests(
    rows: list[Row], tokenizer: Tokenizer | None, progress: Progress
) -> list[SampleRequest]:
    found = []
    for n, row in enumerate(rows, 1):
        if session := _session(row, tokenizer):
            found.append(session)
        progress(n, len(rows))
    if not found:
        raise ConfigError(f"--dataset-path: {rows[0].config.dataset_path!r} has no conversation")
    return sessions.number(found, rows[0].config)


def _session(row: Row, tokenizer: Tokenizer | None) -> Session:
    config, messages, tools = row.config, row.messages(), row.items("tools", dict)
    calls = any(message.get("tool_calls") for message in messages)
    recorded = (config.history or ("recorded" if calls else "real")) == "recorded"
    given: list[object] = row.items("delays", (int, float))
    delays = [Row(config, row.where, {"delays": d}).number("delays") for d in given]
    session: Session = []
    for start, end in _spans(messages):
        if end == 0 or end == start:
            raise row.error("begins with a response, or has two consecutive ones")
        sent = messages[:end] if recorded else messages[start:end]
        answer = messages[end : end + 1]
        delay = delays[len(session) - 1] if 0 < len(session) <= len(delays) else None
        session.append(
            SampleRequest(
                _last_text(sent),
                token_count(sent, tokenizer),
                config.output_len or (token_count(answer, tokenizer) or None),
                body_overrides={"tools": tools} if tools else None,
                chat_messages=sent,
                delay_s=None if delay is None else sessions.capped(delay, config),
                history=-1 if recorded or not session else None,
            )
        )
    return session


def _spans(messages: list[Json]) -> Iterator[tuple[int, int]]:
    """(index of the first new message, of the response) for each request; the last may have no
    response.
    """
    start = 0
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            yield start, place
            start = place + 1
    if start < len(messages):
        yield start, len(messages)


def _last_text(messages: list[Json]) -> str:
    content = messages[-1].get("content") if messages else ""
    return content if isinstance(content, str) else ""
