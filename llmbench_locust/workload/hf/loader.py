"""Makes requests from the rows of a dataset with its adapter."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import oversample, reference
from llmbench_locust.workload.hf.adapter import Adapter, Context, Row
from llmbench_locust.workload.hf.source import ended_threads, local_folder, open_rows
from llmbench_locust.workload.hf.table import ANY, BY_ID
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """``--num-prompts`` requests of a dataset known by ``--hf-name`` or ``--dataset-path``, or of
    any other with ``--hf-prompt-column``.

    Raises ConfigError for an unknown dataset, an unsupported backend, a row of another layout, or
    if filtering leaves no row.
    """
    adapter = choose(config)
    check_backend(adapter, config)
    name = config.hf_name or config.dataset_path
    context = Context(config, tokenizer, name, local_folder(config.dataset_path))
    with ended_threads():
        rows = open_rows(adapter, context) if adapter.rows is None else adapter.rows(context)
        try:
            samples = _samples(adapter, rows, context, progress)
        finally:
            if isinstance(rows, Generator):
                # close now, not at garbage collection: this stops the library's threads
                rows.close()
            del rows
    if not samples:
        raise ConfigError(
            f"--dataset-path: no row of {config.dataset_path!r} is left after filtering "
            f"({adapter.name})"
        )
    return oversample(samples, config)


def _samples(
    adapter: Adapter, rows: Iterable[Row], context: Context, progress: Progress
) -> list[SampleRequest]:
    wanted, prefix = context.config.num_prompts, context.config.request_id_prefix
    samples: list[SampleRequest] = []
    for i, row in enumerate(rows):
        sample = _made(adapter, row, i, context)
        if sample is None:
            continue
        sample.request_id = f"{prefix}{i if adapter.id_by_row else len(samples)}"
        if isinstance(row, dict):
            sample.reference = reference(row, context.config)
        samples.append(sample)
        progress(len(samples), wanted)
        if len(samples) >= wanted:
            break
    return samples


def choose(config: RunConfig) -> Adapter:
    """The adapter for the named column, else for the dataset's name."""
    if config.hf_prompt_column is not None:
        return ANY
    if config.hf_output_column is not None:
        raise ConfigError("--hf-output-column: only with --hf-prompt-column")
    for name in (config.dataset_path, config.hf_name):
        if name in BY_ID:
            return BY_ID[name]
    shown = config.hf_name or config.dataset_path
    raise ConfigError(
        f"--dataset-path: {shown!r} is not a known dataset; give --hf-prompt-column, or --hf-name "
        f"if it is a copy of one of {', '.join(BY_ID)}"
    )


def check_backend(adapter: Adapter, config: RunConfig) -> None:
    info = config.backend_info
    if adapter.backend and info.name != adapter.backend:
        raise ConfigError(
            f"--backend: {adapter.name} works with {adapter.backend} only, not with {info.name}"
        )
    if adapter.modality and adapter.modality not in info.modalities:
        raise ConfigError(
            f"--backend: {info.name} does not support {adapter.modality}s, which {adapter.name} "
            "holds"
        )
    if info.only and info.only != adapter.modality:
        raise ConfigError(
            f"--backend: {info.name} takes only {info.only}, but {adapter.name} has none"
        )


def _made(adapter: Adapter, row: Row, i: int, context: Context) -> SampleRequest | None:
    try:
        return adapter.make(row, context)
    except (KeyError, IndexError, TypeError, AttributeError) as e:
        if context.config.hf_prompt_column is not None:
            wanted, flag = str(e), "--hf-prompt-column"
        else:
            wanted, flag = adapter.columns, "--dataset-path"
        there = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ConfigError(
            f"{flag}: row {i} does not have the layout of {adapter.name} ({wanted}); it has {there}"
        ) from None
