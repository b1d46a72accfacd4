"""What the responses of a run are checked against; prepared before the first request is sent."""

from __future__ import annotations

from collections.abc import Sequence

from llmbench_locust.errors import ConfigError
from llmbench_locust.metrics.facts import AnswerKey
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.files import read_json
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.structured import read_schema, structured_rows


def answer_key(config: RunConfig, samples: Sequence[SampleRequest], prompts: str) -> AnswerKey:
    """The answer key of a plan. ``prompts``: digest of its prompts. Raises ConfigError."""
    references = [sample.reference for sample in samples]
    kind, _, field = (config.check_answers or "").partition(":")
    if kind == "exact" and not any(text is not None for text in references):
        raise ConfigError(
            f"--check-answers: no request of --dataset-name {config.dataset_name} has a field "
            f"{field!r}"
        )
    return AnswerKey(
        references if kind == "exact" else (),
        _others(config, len(samples), prompts) if config.expect_same_as else (),
        read_schema(config) if kind == "json_schema" else None,
        structured_rows(config, len(samples)) if kind == "json_schema" else (),
    )


def _others(config: RunConfig, n: int, prompts: str) -> list[str | None]:
    """The responses of another result file, in the order of its plan; None for a failed one."""
    path = config.expect_same_as or ""
    found = read_json(path, "--expect-same-as")
    texts = found.get("generated_texts") if isinstance(found, dict) else None
    if not isinstance(texts, list):
        raise ConfigError(
            f"--expect-same-as: {path!r} has no responses; write it with --save-result and "
            "--save-detailed"
        )
    theirs = ((found.get("llmbench") or {}).get("workload") or {}).get("hash", prompts)
    if len(texts) != n or theirs != prompts:
        raise ConfigError(
            f"--expect-same-as: {path!r} has another workload; use the same dataset, --seed and "
            "--num-prompts"
        )
    errors = found.get("errors") or [""] * n
    return [None if error else str(text) for text, error in zip(texts, errors, strict=True)]
