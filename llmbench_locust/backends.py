"""What is known of each backend before a request is built: names, default endpoints, what a flag can mean for it.

Options check against this table, users build on it; it imports nothing of either. A backend that another package brings is
named by an entry point of the group ``llmbench_locust.backends``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One row. ``endings``: an ``--endpoint`` must end with one of them. ``kind``: "generation" or "pooling".

    ``sampling``, ``ignore_eos``, ``logprobs``: whether the protocol can carry them. ``modalities``: of multi-modal content.
    ``chat``: the body holds messages, so that a dataset does not apply the chat template itself.
    """

    name: str
    endpoint: str
    endings: tuple[str, ...]
    kind: str = "generation"
    sampling: bool = True
    ignore_eos: bool = True
    logprobs: bool = False
    modalities: tuple[str, ...] = ()
    chat: bool = False
    openai_compatible: bool = True


_ROWS = (
    BackendInfo("openai", "/v1/completions", ("completions",), logprobs=True),
    BackendInfo("vllm", "/v1/completions", ("completions",), logprobs=True),
    BackendInfo(
        "openai-chat", "/v1/chat/completions", ("chat/completions",), modalities=("image", "audio", "video"), chat=True
    ),
)

BACKENDS: dict[str, BackendInfo] = {row.name: row for row in _ROWS}
