"""Opens a dataset of the hub, a folder or a file, loaded or streamed, shuffled by seed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmbench_locust.errors import ConfigError, first_line
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.hf.adapter import Adapter, Context, Row
from llmbench_locust.workload.hub import offline
from llmbench_locust.workload.media import need

_BUILDERS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".arrow": "arrow",
    ".txt": "text",
}


@contextmanager
def ended_threads() -> Iterator[None]:
    """Wait for the threads that the library starts in the context.

    Under gevent they are greenlets of the native thread that loads the workload. After it has ended
    they never run again, and the interpreter would wait for them forever at exit.
    """
    before = set(threading.enumerate())
    try:
        yield
    finally:
        gc.collect()  # unreferenced executors then stop their threads
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("ThreadPoolExecutor"):
                thread.join(timeout=5)


def local_folder(path: str) -> str | None:
    """The absolute folder of a local copy or of its file, or None for an id of the hub."""
    there = Path(path)
    if there.is_dir():
        return str(there.absolute())
    if there.is_file():
        return str(there.absolute().parent)
    if there.suffix in _BUILDERS or path.startswith((".", "/", "~")):
        raise ConfigError(f"--dataset-path: file not found: {path!r}")
    return None


def open_rows(adapter: Adapter, context: Context) -> Iterable[Row]:
    """The rows, shuffled by seed unless ``--disable-shuffle``. Raises ConfigError."""
    config = context.config
    data = _load(adapter, context)
    if not config.disable_shuffle:
        data = data.shuffle(seed=config.seed)
    return _guarded(_undecoded(data, adapter), config.dataset_path)


def _guarded(data: Iterable[Row], path: str) -> Iterator[Row]:
    """The rows; any error of the library becomes a ConfigError."""
    try:
        yield from data
    except Exception as e:
        raise ConfigError(f"--dataset-path: {path!r} cannot be read: {first_line(e)}") from None


def _load(adapter: Adapter, context: Context) -> Any:
    config = context.config
    local = context.folder is not None
    where: Json = {"path": config.dataset_path}
    if Path(config.dataset_path).is_file():
        builder = _BUILDERS.get(Path(config.dataset_path).suffix)
        if builder is None:
            raise ConfigError(
                f"--dataset-path: {config.dataset_path!r} ends in none of {', '.join(_BUILDERS)}"
            )
        where = {"path": builder, "data_files": config.dataset_path}
    # The defaults are for the hub: a local copy may have other subsets and splits.
    subset = None if adapter.no_subset else config.hf_subset or (None if local else adapter.subset)
    split = config.hf_split or (None if local else adapter.split)
    if config.trust_remote_code:
        where["trust_remote_code"] = True
    unasked = "" if local or "data_files" in where else offline()
    try:
        return _one_split(_opened(where, subset, split, config), adapter, config)
    except ConfigError:
        raise
    except Exception as e:  # errors of the library and the hub have no common base class
        if unasked:
            raise ConfigError(
                f"--dataset-path: {config.dataset_path!r} is not in the local cache, and "
                f"{unasked}; use a local copy, or another --dataset-name"
            ) from None
        raise ConfigError(
            f"--dataset-path: {config.dataset_path!r} cannot be loaded: {first_line(e)}"
        ) from None


def _opened(where: Json, subset: str | None, split: str | None, config: RunConfig) -> Any:
    import datasets

    datasets.disable_progress_bars()
    if hasattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN"):
        # By default the library waits five seconds for its threads, in case the program exits next.
        datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0.2
    if "trust_remote_code" in where and int(datasets.__version__.split(".")[0]) >= 4:
        where = {
            k: v for k, v in where.items() if k != "trust_remote_code"
        }  # removed together with dataset scripts
    return datasets.load_dataset(name=subset, split=split, streaming=not config.no_stream, **where)


def _one_split(data: object, adapter: Adapter, config: RunConfig) -> Any:
    """One split: the adapter's, else train, else the only one."""
    if not isinstance(data, dict):
        return data
    for name in (adapter.split, "train"):
        if name in data:
            return data[name]
    if len(data) == 1:
        return next(iter(data.values()))
    raise ConfigError(
        f"--hf-split: {config.dataset_path!r} has {', '.join(map(str, data))}; name one of them"
    )


def _undecoded(data: Any, adapter: Adapter) -> Any:
    """Keep audio (and unneeded images) as bytes or paths: we decode them lazily, without torch."""
    from datasets import Audio, Image

    for name, feature in (data.features or {}).items():
        if isinstance(feature, Audio):
            data = data.cast_column(name, Audio(decode=False))
        elif isinstance(feature, Image):
            if adapter.modality:
                need("PIL.Image")
            else:
                data = data.cast_column(name, Image(decode=False))
    return data
