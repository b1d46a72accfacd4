"""``weka``: recorded sessions of coding agents, one JSON object each, in a file or a directory.

A call has the token counts of its full prompt and its response, and the hash ids of the prompt's
blocks of ``block_size`` tokens. Equal ids within a session give equal tokens. A call is sent when
the previous one is answered and the recorded idle time (its start minus the end of the previous
call) has passed. If durations are missing, ``think_time`` is used.

A ``subagent`` marker has its own calls, which start at their recorded offset from the end of the
call before the marker. The parent's first call that started after the sub-agent's end also waits
for the sub-agent's last call. Later prompts do not contain the actual responses, because the trace
has each full prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload import sessions
from llmbench_locust.workload.blocks import Blocks
from llmbench_locust.workload.files import read_json, read_jsonl
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.sessions import Row, Session
from llmbench_locust.workload.tokenizer import Tokenizer

#: Types of a call: not streamed, streamed, or a marker with its own calls.
_TYPES = ("n", "s", "subagent")


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of the sessions. Raises ConfigError."""
    rows = list(_rows(config))
    blocks = Blocks(tokenizer, 1, 0, as_text=not config.backend_info.token_ids)
    found = []
    for n, row in enumerate(rows, 1):
        found.append(_Trace(row, tokenizer, blocks, n).session())
        progress(n, len(rows))
    found = [session for session in found if session]
    if not found:
        raise ConfigError(f"--dataset-path: {config.dataset_path!r} has no session with a call")
    return sessions.number(found, config)


def _rows(config: RunConfig) -> Iterator[Row]:
    path = Path(config.dataset_path)
    for file in sorted(path.glob("*.json*")) if path.is_dir() else [path]:
        if file.suffix == ".jsonl":
            yield from (Row(config, f"{n}:", row) for n, row in read_jsonl(str(file)))
            continue
        data = read_json(str(file))
        for n, entry in enumerate(data if isinstance(data, list) else [data], 1):
            row = Row(config, f"({file.name}, session {n})", entry)
            if not isinstance(entry, dict):
                raise row.error("is not a session with 'requests'")
            yield row


def _calls_of(row: Row) -> list[Json]:
    """The calls, without their null values."""
    if not isinstance(row.values.get("requests"), list):
        raise row.error("has no 'requests' list")
    calls = [call for call in row.items("requests", dict) if isinstance(call, dict)]
    return [{key: value for key, value in c.items() if value is not None} for c in calls]


class _Trace:
    def __init__(self, row: Row, tokenizer: Tokenizer, blocks: Blocks, number: int) -> None:
        self._row, self._config = row, row.config
        size = row.count("block_size")
        if row.values.get("hash_id_scope", "local") != "local":
            raise row.error("'hash_id_scope' must be 'local'")
        # Hash ids are local to their session.
        self._blocks = blocks.others(size, f"{self._config.seed}/{number}")
        self._tokenizer = tokenizer
        self._found: Session = []

    def session(self) -> Session:
        """The calls by recorded start, so that each comes after those that it waits for."""
        self._calls(_calls_of(self._row), None, 0.0)
        return self._found

    def _calls(
        self, calls: list[Json], spawner: int | None, spawned_s: float
    ) -> tuple[int | None, float]:
        """(turn, end in seconds) of the last of ``calls``, which follow the turn ``spawner``."""
        before, end_s = spawner, spawned_s
        running: list[tuple[float, int]] = []
        for call in calls:
            row = Row(self._config, f"{self._row.where} call {len(self._found) + 1}:", call)
            began_s = row.number("t")
            if (kind := call.get("type", "n")) not in _TYPES:
                raise row.error(f"'type' is {kind!r}; it must be {', '.join(_TYPES)}")
            if kind == "subagent":
                if before is not None:  # a sub-agent before the first call has no parent
                    running.append(self._subagent(row, began_s, before, end_s))
                continue
            joins = [turn for ended_s, turn in running if ended_s <= began_s]
            running = [(ended_s, turn) for ended_s, turn in running if ended_s > began_s]
            duration_s = row.number("api_time", 0.0)
            idle_s = (
                max(0.0, began_s - end_s) if "api_time" in call else row.number("think_time", 0)
            )
            parents = sorted({*([before] if before is not None else []), *joins})
            self._found.append(self._request(row, tuple(parents), idle_s if parents else 0.0))
            before, end_s = len(self._found) - 1, began_s + duration_s
        return before, end_s

    def _subagent(self, row: Row, began_s: float, before: int, end_s: float) -> tuple[float, int]:
        calls = _calls_of(row)
        if not calls:
            raise row.error("the sub-agent has no 'requests'")
        if min(Row(self._config, row.where, call).number("t") for call in calls) < began_s:
            # In older files, times are relative to the sub-agent's start.
            calls = [{**call, "t": call["t"] + began_s} for call in calls]
        turn, last_s = self._calls(calls, before, end_s)
        duration = row.values.get("duration_ms")
        return (
            last_s if duration is None else began_s + row.number("duration_ms") / 1000
        ), turn or before

    def _request(self, row: Row, parents: tuple[int, ...], idle_s: float) -> SampleRequest:
        input_len = row.count("in")
        ids = row.hash_ids(self._blocks.size, input_len)
        prompt = self._blocks.prompt(ids, input_len, own=f"call {len(self._found)}")
        if self._blocks.as_text:
            input_len = self._tokenizer.count_batch([str(prompt)], add_special_tokens=True)[0]
        return SampleRequest(
            prompt,
            input_len,
            max(1, row.count("out", least=0)),
            parents=parents,
            delay_s=sessions.capped(idle_s, self._config),
            history=-1,
        )
