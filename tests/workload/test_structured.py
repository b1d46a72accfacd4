"""Structured output and tool choice: what goes into which requests."""

import json

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.users.protocols import protocol_for
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.load import load_requests
from llmbench_locust.workload.structured import structured_rows
from tests.workload.common import config, write_jsonl

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def bodies(tokenizer, backend, *flags):
    loaded = config("--backend", backend, "--random-input-len", 8, "--num-prompts", 40, *flags)
    wire = WireConfig(backend, ["http://h"], loaded.endpoint, "m", extra_body={"x": 1})
    protocol = protocol_for(backend)(wire)
    samples = load_requests(loaded, tokenizer)
    return loaded, [json.loads(protocol.request(sample).body) for sample in samples]


@pytest.mark.parametrize(
    ("backend", "path"),
    [
        ("openai", ("response_format", "json_schema", "schema")),
        ("openai-chat", ("response_format", "json_schema", "schema")),
        ("openai-responses", ("text", "format", "schema")),
        ("tgi", ("parameters", "grammar", "value")),
        ("llama.cpp", ("json_schema",)),
        ("ollama", ("format",)),
        ("sglang", ("sampling_params", "json_schema")),
    ],
)
def test_the_drawn_share_carries_the_schema_where_the_backend_has_it(
    backend, path, schema, tokenizer
):
    flags = ("--structured-output", schema, "--structured-output-ratio", 0.3)
    loaded, found = bodies(tokenizer, backend, *flags)
    chosen = structured_rows(loaded, 40)
    assert 0 < sum(chosen) < 40
    for body, is_chosen in zip(found, chosen, strict=True):
        for key in path[:-1]:
            body = body.get(key, {}) if body else body
        value = body.get(path[-1])
        value = json.loads(value) if isinstance(value, str) else value
        assert value == (SCHEMA if is_chosen else None)


def test_tool_choice_goes_with_tools(tmp_path, tokenizer):
    tools = [{"type": "function", "function": {"name": "ls", "parameters": {}}}]
    user = [{"role": "user", "content": "Go"}]
    path = write_jsonl(tmp_path / "t.jsonl", [{"messages": user, "tools": tools},
                                              {"messages": user}])  # fmt: skip
    flags = ("--dataset-name", "messages", "--dataset-path", path, "--num-prompts", -1)
    with_tools, without = load_requests(
        config("--backend", "openai-chat", *flags, "--tool-choice", "ls"), tokenizer
    )
    named = {"type": "function", "function": {"name": "ls"}}
    assert with_tools.body_overrides == {"tool_choice": named, "tools": tools}
    assert without.body_overrides is None


def test_what_cannot_be_asked_for_is_one_line(tmp_path, schema, tokenizer):
    bad = tmp_path / "bad.json"
    bad.write_text('{"type": "objekt"}')
    for backend, flags, words in (
        ("tensorrt-llm", ("--structured-output", schema), "--structured-output: --backend tensor"),
        ("openai", ("--structured-output", bad), "is not a JSON schema: type: 'objekt' is not"),
        ("openai-chat", ("--tool-choice", "auto"), "--tool-choice: no request of --dataset-name"),
        (
            "openai",
            ("--tool-choice", "auto"),
            "--tool-choice: --backend openai does not support tools",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            bodies(tokenizer, backend, *flags)
        assert words in str(error.value)
        assert "\n" not in str(error.value)
