"""``--structured-output`` and ``--tool-choice``: constraints on the form of responses.

Each backend's row in `backends` has the fields for them.
"""

from __future__ import annotations

from dataclasses import replace

from llmbench_locust.backends import BACKENDS, backend_info
from llmbench_locust.draws import draw
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.files import read_json
from llmbench_locust.workload.sample import SampleRequest


def structured_rows(config: RunConfig, n: int) -> list[bool]:
    """Whether each of ``n`` requests asks for structured output."""
    ratio = config.structured_output_ratio if config.structured_output else 0.0
    return [draw(config.seed, "structured", i) < ratio for i in range(n)]


def read_schema(config: RunConfig) -> Json | None:
    """The schema of ``--structured-output``; None if it has none. Raises ConfigError."""
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
    """``samples`` with the fields of ``--structured-output`` and ``--tool-choice``; fields from the
    dataset have priority. Raises ConfigError.
    """
    info = backend_info(config.backend)
    schema = read_schema(config)
    if schema is not None:
        if info.schema_fields is None:
            allowed = ", ".join(name for name in BACKENDS if BACKENDS[name].schema_fields)
            raise ConfigError(
                f"--structured-output: --backend {config.backend} does not support it; use one of "
                f"{allowed}"
            )
        form = info.schema_fields(schema)
        chosen = structured_rows(config, len(samples))
        samples = [_with(s, form) if c else s for s, c in zip(samples, chosen, strict=True)]
    if config.tool_choice is None:
        return samples
    if info.tool_fields is None:
        raise ConfigError(f"--tool-choice: --backend {config.backend} does not support tools")
    choice = info.tool_fields(config.tool_choice)
    if not any("tools" in (s.body_overrides or config.extra_body) for s in samples):
        raise ConfigError(
            f"--tool-choice: no request of --dataset-name {config.dataset_name} has tools"
        )
    return [_with(s, choice) if "tools" in (s.body_overrides or {}) else s for s in samples]


def _with(sample: SampleRequest, fields: Json) -> SampleRequest:
    return replace(sample, body_overrides={**fields, **(sample.body_overrides or {})})
