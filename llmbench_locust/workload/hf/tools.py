"""BFCL, the Berkeley function calling leaderboard: questions with tool schemas, as JSONL."""

from __future__ import annotations

import random
from itertools import zip_longest
from pathlib import Path

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.workload.files import read_jsonl
from llmbench_locust.workload.hf.adapter import Context, Row
from llmbench_locust.workload.sample import SampleRequest

DEFAULT_CATEGORIES = "simple,live_simple,multiple"
#: Type names of BFCL that JSON Schema does not have.
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}


def rows(context: Context) -> list[Row]:
    """The rows of all categories in turn, then shuffled by seed."""
    config = context.config
    names = [
        c.strip() for c in (config.bfcl_categories or "").split(",") if c.strip()
    ] or DEFAULT_CATEGORIES.split(",")
    categories = [
        [row for _, row in read_jsonl(str(_file(name, context)), "--bfcl-categories")]
        for name in names
    ]
    found = [row for group in zip_longest(*categories) for row in group if row is not None]
    if not config.disable_shuffle:
        random.Random(config.seed).shuffle(found)
    return found


def _file(category: str, context: Context) -> Path:
    name = f"BFCL_v3_{category}.json"
    if context.folder is not None:
        path = Path(context.folder) / name
        if path.exists():
            return path
    else:
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(context.config.dataset_path, name, repo_type="dataset"))
        except Exception as e:  # the hub's errors have no common base class
            if "EntryNotFound" not in type(e).__name__ or "Local" in type(e).__name__:
                what = f"{name} of {context.name!r} cannot be loaded ({type(e).__name__})"
                raise ConfigError(f"--dataset-path: {what}") from None
    what = f"{category!r} is not a category ({name}); the usual ones are {DEFAULT_CATEGORIES}"
    raise ConfigError(f"--bfcl-categories: {what}")


def function_call(row: Row, context: Context) -> SampleRequest | None:
    """The first turn's messages, with the functions as OpenAI tools in the body."""
    question, functions = row.get("question"), row.get("function")
    if not isinstance(question, list) or not question or not functions:
        return None
    messages = question[0]
    if not isinstance(messages, list) or not messages:
        return None
    functions = functions if isinstance(functions, list) else [functions]
    tools = [{"type": "function", "function": json_schema(f)} for f in functions]
    sample = SampleRequest(
        messages[-1].get("content", ""), _length(messages, tools, context), context.output_len(512)
    )
    sample.chat_messages = messages
    sample.body_overrides = {"tools": tools, "tool_choice": "auto"}
    return sample


def json_schema(node: object) -> JsonValue:
    """``node`` with BFCL's type names replaced by JSON Schema's."""
    if isinstance(node, list):
        return [json_schema(n) for n in node]
    if not isinstance(node, dict):
        return node
    found = {key: json_schema(value) for key, value in node.items()}
    kind = found.get("type")
    if isinstance(kind, str):
        found["type"] = _TYPES.get(kind, kind)
    return found


def _length(messages: list[Row], tools: list[Row], context: Context) -> int:
    """Tokens of messages and tools in the chat template, else of the plain text."""
    with_tools: Json = {"tools": tools}
    for kwargs in (with_tools, {}):
        try:
            return context.tokens(context.templated(messages, **kwargs))
        except TypeError:  # a tokenizer without support for tools
            continue
        except Exception:  # a template may raise anything for roles that it does not support
            break
    return context.tokens("\n".join(str(m.get("content", "")) for m in messages))
