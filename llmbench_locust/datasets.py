"""One row for each dataset: its loader, its file, and what its requests hold.

Options are checked against this table, and `workload.load` uses it. Another package adds a dataset
with an entry point in the group ``llmbench_locust.datasets`` that names a `DatasetInfo`; a
locustfile adds one with `register_dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llmbench_locust.entry_points import Registry


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One row.

    ``load``: a function (config, tokenizer, progress) that returns the requests, or its name
    ("module:function"). ``path``: what ``--dataset-path`` must be; "hub" is a path or a name on
    the hub. ``input_flag``, ``output_flag``: fields that ``--input-len`` and ``--output-len`` set.
    ``modality``: what its requests hold besides text; "" for text alone, "any" if it depends on
    the file. ``documents``: its requests are a query and documents to rank. ``full_length``: its
    prompts are meaningless, so ``--ignore-eos`` is implied. ``random_tokens``: its prompts can be
    aligned with the server's tokenizer. ``tokenizer``: whether it needs one. ``times``: "" without
    arrival times of its own, "used" if these are the arrivals by default. ``conversations``:
    whether ``--multi-turn`` works. ``sessions``: its requests wait for earlier responses.
    ``all_rows``: whether ``--num-prompts -1`` means every row. ``fewest_flag``: the field with the
    minimum number of requests that it makes. ``stream``: name of the function (config, tokenizer,
    total) that makes requests on demand (see `workload.stream.Requests`), or None if it cannot; ""
    if all requests are made before the first is sent.
    """

    name: str
    load: str | Callable[..., Any]
    path: Literal["none", "optional", "file", "directory", "any", "hub"] = "file"
    input_flag: str = ""
    output_flag: str = ""
    modality: str = ""
    documents: bool = False
    full_length: bool = False
    random_tokens: bool = False
    tokenizer: bool = True
    times: Literal["", "unused", "used"] = ""
    conversations: bool = False
    sessions: bool = False
    all_rows: bool = False
    fewest_flag: str = ""
    stream: str = ""


DATASETS = Registry[DatasetInfo]("--dataset-name", "llmbench_locust.datasets", lambda row: row)
dataset_names, dataset_info = DATASETS.names, DATASETS.row


def register_dataset(info: DatasetInfo) -> DatasetInfo:
    """Add a dataset for ``--dataset-name``. It replaces an earlier one of the same name."""
    DATASETS[info.name] = info
    return info


_HERE = "llmbench_locust.workload."

for _row in (
    DatasetInfo(
        "sharegpt", _HERE + "sharegpt:load", output_flag="sharegpt_output_len", conversations=True
    ),
    DatasetInfo("burstgpt", _HERE + "csv_trace:load_burstgpt", times="unused"),
    DatasetInfo(
        "sonnet",
        _HERE + "sonnet:load",
        path="optional",
        input_flag="sonnet_input_len",
        output_flag="sonnet_output_len",
    ),
    DatasetInfo(
        "random",
        _HERE + "random_text:load",
        path="none",
        input_flag="random_input_len",
        output_flag="random_output_len",
        full_length=True,
        random_tokens=True,
        conversations=True,
        stream=_HERE + "random_text:stream",
    ),
    DatasetInfo(
        "random-mm",
        _HERE + "random_mm:load",
        path="none",
        input_flag="random_input_len",
        output_flag="random_output_len",
        modality="image",
        full_length=True,
    ),
    DatasetInfo(
        "random-rerank",
        _HERE + "random_text:load_rerank",
        path="none",
        input_flag="random_input_len",
        output_flag="random_output_len",
        documents=True,
    ),
    DatasetInfo("hf", _HERE + "hf:load", path="hub", output_flag="hf_output_len", modality="any"),
    DatasetInfo("custom", _HERE + "custom:load", output_flag="custom_output_len", tokenizer=False),
    DatasetInfo(
        "custom_image",
        _HERE + "custom_media:load_images",
        output_flag="custom_output_len",
        modality="image",
        tokenizer=False,
    ),
    DatasetInfo(
        "custom_audio",
        _HERE + "custom_media:load_sounds",
        output_flag="custom_output_len",
        modality="audio",
        tokenizer=False,
    ),
    DatasetInfo(
        "prefix_repetition",
        _HERE + "prefix_repetition:load",
        path="none",
        output_flag="prefix_repetition_output_len",
        fewest_flag="prefix_repetition_num_prefixes",
        random_tokens=True,
    ),
    DatasetInfo(
        "spec_bench",
        _HERE + "custom:load_spec_bench",
        output_flag="spec_bench_output_len",
        all_rows=True,
    ),
    DatasetInfo("speed_bench", _HERE + "custom:load_speed_bench", path="directory", all_rows=True),
    DatasetInfo("timed_trace", _HERE + "timed_trace:load", full_length=True, times="used"),
    DatasetInfo(
        "mooncake", _HERE + "graph:load_mooncake", times="used", sessions=True, all_rows=True
    ),
    DatasetInfo("sessions", _HERE + "graph:load", times="unused", sessions=True, all_rows=True),
    DatasetInfo("weka", _HERE + "weka:load", path="any", sessions=True, all_rows=True),
    DatasetInfo(
        "messages", _HERE + "recorded_chats:load", tokenizer=False, sessions=True, all_rows=True
    ),
    DatasetInfo(
        "vllm_multi_turn",
        _HERE + "recorded_chats:load_vllm",
        tokenizer=False,
        sessions=True,
        all_rows=True,
    ),
    DatasetInfo("azure", _HERE + "csv_trace:load", times="unused"),
):
    register_dataset(_row)
