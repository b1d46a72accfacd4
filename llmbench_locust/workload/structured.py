"""``--structured-output`` and ``--tool-choice``: what some requests ask of the form of an answer.

Each backend has its own field for a JSON schema, a row each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from llmbench_locust.draws import draw
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.files import read_json
from llmbench_locust.workload.sample import SampleRequest


def _response_format(schema: Json) -> Json:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _text_format(schema: Json) -> Json:
    format = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    return {"text": {"format": format}}


#: Fields of the body by backend.
_SHAPES: dict[str, Callable[[Json], Json]] = {
    **dict.fromkeys(("openai", "vllm", "openai-chat"), _response_format),
    "openai-responses": _text_format,
    "sglang": lambda schema: {"sampling_params": {"json_schema": json.dumps(schema)}},
    "tgi": lambda schema: {"parameters": {"grammar": {"type": "json", "value": schema}}},
    "llama.cpp": lambda schema: {"json_schema": schema},
    "ollama": lambda schema: {"format": schema},
}


def structured_rows(config: RunConfig, n: int) -> list[bool]:
    """Which of ``n`` requests ask for structured output."""
    ratio = config.structured_output_ratio if config.structured_output else 0.0
    return [draw(config.seed, "structured", i) < ratio for i in range(n)]


def read_schema(config: RunConfig) -> Json | None:
    """The schema of ``--structured-output``; None without one. Raises ConfigError."""
    if config.structured_output is None:
        return None
    from jsonschema import validators
    from jsonschema.exceptions import SchemaError

    schema = read_json(config.structured_output, "--structured-output")
    if not isinstance(schema, dict):
        raise ConfigError(
            f"--structured-output: {config.structured_output!r} is not a JSON schema; it must be "
            "an object"
        )
    try:
        validators.validator_for(schema).check_schema(schema)
    except SchemaError as e:
        where = "/".join(map(str, e.absolute_path)) or "its top"
        raise ConfigError(
            f"--structured-output: {config.structured_output!r} is not a JSON schema: {where}: "
            f"{e.message}"
        ) from None
    return schema


def with_forms(samples: list[SampleRequest], config: RunConfig) -> list[SampleRequest]:
    """``samples`` with the fields of ``--structured-output`` and ``--tool-choice``; what a dataset
    sets itself stays. Raises ConfigError.
    """
    schema = read_schema(config)
    if schema is not None:
        if config.backend not in _SHAPES:
            raise ConfigError(
                f"--structured-output: --backend {config.backend} cannot carry it; use one of "
                f"{', '.join(_SHAPES)}"
            )
        form = _SHAPES[config.backend](schema)
        chosen = structured_rows(config, len(samples))
        samples = [_with(s, form) if c else s for s, c in zip(samples, chosen, strict=True)]
    if config.tool_choice is None:
        return samples
    choice = _choice(config)
    if not any("tools" in (s.body_overrides or config.extra_body) for s in samples):
        raise ConfigError(
            f"--tool-choice: no request of --dataset-name {config.dataset_name} has tools"
        )
    return [_with(s, choice) if "tools" in (s.body_overrides or {}) else s for s in samples]


def _choice(config: RunConfig) -> Json:
    word, backend = config.tool_choice, config.backend
    if backend not in ("openai-chat", "openai-responses", "anthropic"):
        raise ConfigError(f"--tool-choice: --backend {backend} has no tools")
    if backend == "anthropic":
        kinds = {"auto": "auto", "none": "none", "required": "any"}
        named = {"type": kinds[word]} if word in kinds else {"type": "tool", "name": word}
        return {"tool_choice": named}
    if word in ("auto", "none", "required"):
        return {"tool_choice": word}
    function = {"name": word}
    flat = backend == "openai-responses"
    return {"tool_choice": {"type": "function", **(function if flat else {"function": function})}}


def _with(sample: SampleRequest, fields: Json) -> SampleRequest:
    return replace(sample, body_overrides={**fields, **(sample.body_overrides or {})})
