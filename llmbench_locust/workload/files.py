"""Reads complete JSON, JSONL and CSV files; errors name the flag, the file and the line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.config import RunConfig


def read_text(path: str, flag: str = "--dataset-path") -> str:
    """The text of a UTF-8 file. Raises ConfigError."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{flag}: file not found: {path!r}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{flag}: {path!r} cannot be read ({e})") from None


def read_json(path: str, flag: str = "--dataset-path") -> JsonValue:
    try:
        return json.loads(read_text(path, flag))
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{flag}: {path!r} is not JSON ({e})") from None


def read_jsonl(path: str, flag: str = "--dataset-path") -> list[tuple[int, Json]]:
    """(line number from 1, object) of each line that is not blank; at least one."""
    rows = []
    for number, line in enumerate(read_text(path, flag).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"{flag}: {path!r} line {number} is not JSON ({e})") from None
        if not isinstance(row, dict):
            raise ConfigError(f"{flag}: {path!r} line {number} is not a JSON object")
        rows.append((number, row))
    if not rows:
        raise ConfigError(f"{flag}: {path!r} is empty")
    return rows


def read_conversations(config: RunConfig) -> list[Json]:
    """The entries of a ShareGPT file whose ``conversations`` have two turns or more."""
    data = read_json(config.dataset_path)
    if not isinstance(data, list):
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} is not a list of conversations, as ShareGPT "
            "has it"
        )
    turns = ((e, e.get("conversations")) for e in data if isinstance(e, dict))
    return [entry for entry, said in turns if isinstance(said, list) and len(said) >= 2]


def read_prompts(config: RunConfig) -> list[tuple[int, Json]]:
    """`read_jsonl` of ``--dataset-path`` for the custom datasets, which read only .jsonl files."""
    path, name = config.dataset_path, config.dataset_name
    if not path.endswith(".jsonl"):
        raise ConfigError(f"--dataset-path: {path!r} is not a .jsonl file; {name} reads only those")
    return read_jsonl(path)


def bad_line(config: RunConfig, line: int | str, what: str) -> ConfigError:
    """The error for one line of ``--dataset-path``. A very long value is cut in the middle."""
    if len(what) > 400:
        what = f"{what[:200]} … {what[-150:]}"
    return ConfigError(f"--dataset-path: {config.dataset_path!r} line {line} {what}")


def read_csv(
    path: str, flag: str = "--dataset-path"
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(column names, [(line number from 1, row)]) of a CSV file with a header."""
    lines = read_text(path, flag).splitlines()
    reader = csv.DictReader(lines)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        rows = [
            (reader.line_num, {k: v for k, v in row.items() if k is not None and v is not None})
            for row in reader
        ]
    except csv.Error as e:
        raise ConfigError(f"{flag}: {path!r} line {reader.line_num} is not CSV ({e})") from None
    if not names:
        raise ConfigError(f"{flag}: {path!r} is empty")
    return names, rows
