"""What is known of each backend before a request is built: names, default endpoints, what a flag
can mean for it.

Options check against this table, users build on it; it imports nothing of either. A backend that
another package brings is named by an entry point of the group ``llmbench_locust.backends`` (a
`Protocol` class with ``info``), or registers itself from a locustfile with `register_backend`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from llmbench_locust.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One row. ``endings``: an ``--endpoint`` must end with one of them. ``kind``: "generation" or
    "pooling".

    ``sampling``: the sampling parameters that the protocol carries. ``ignore_eos``, ``logprobs``:
    whether it can carry them. ``modalities``: of multi-modal content. ``chat``: the body holds
    messages, so that a dataset applies no chat template. ``plain_text``: whether it takes a
    workload of texts at all. ``lora``: whether a request can name a LoRA module.
    """

    name: str
    endpoint: str
    endings: tuple[str, ...]
    kind: str = "generation"
    sampling: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False
    modalities: tuple[str, ...] = ()
    chat: bool = False
    plain_text: bool = True
    lora: bool = True


_OPENAI = (
    "top_p",
    "top_k",
    "min_p",
    "temperature",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)
_MEDIA = ("image", "audio", "video")


def _pooling(
    name: str, endpoint: str, *endings: str, modalities: tuple[str, ...] = (), chat: bool = False
) -> BackendInfo:
    return BackendInfo(name, endpoint, endings, kind="pooling", modalities=modalities, chat=chat)


_ROWS = (
    BackendInfo(
        "openai",
        "/v1/completions",
        ("completions",),
        sampling=_OPENAI,
        ignore_eos=True,
        logprobs=True,
    ),
    BackendInfo(
        "vllm",
        "/v1/completions",
        ("completions",),
        sampling=_OPENAI,
        ignore_eos=True,
        logprobs=True,
    ),
    BackendInfo(
        "openai-chat",
        "/v1/chat/completions",
        ("chat/completions",),
        sampling=_OPENAI,
        ignore_eos=True,
        logprobs=True,
        modalities=_MEDIA,
        chat=True,
    ),
    BackendInfo(
        "openai-responses",
        "/v1/responses",
        ("responses",),
        sampling=("top_p", "temperature"),
        ignore_eos=True,
        chat=True,
    ),
    BackendInfo(
        "openai-audio",
        "/v1/audio/transcriptions",
        ("transcriptions", "translations"),
        sampling=_OPENAI,
        modalities=("audio",),
        plain_text=False,
    ),
    _pooling("openai-embeddings", "/v1/embeddings", "embeddings"),
    _pooling(
        "openai-embeddings-chat", "/v1/embeddings", "embeddings", modalities=_MEDIA, chat=True
    ),
    _pooling(
        "openai-embeddings-clip", "/v1/embeddings", "embeddings", modalities=("image",), chat=True
    ),
    _pooling(
        "openai-embeddings-vlm2vec",
        "/v1/embeddings",
        "embeddings",
        modalities=("image",),
        chat=True,
    ),
    _pooling("infinity-embeddings", "/embeddings", "embeddings", modalities=("image",)),
    _pooling("infinity-embeddings-clip", "/embeddings", "embeddings", modalities=("image",)),
    _pooling("vllm-pooling", "/pooling", "pooling"),
    _pooling("vllm-rerank", "/v1/rerank", "rerank"),
    BackendInfo(
        "tgi",
        "/generate_stream",
        ("generate_stream",),
        sampling=("top_p", "top_k", "temperature", "repetition_penalty"),
    ),
    BackendInfo("sglang", "/generate", ("generate",), sampling=_OPENAI, ignore_eos=True),
    BackendInfo(
        "tensorrt-llm",
        "/v2/models/ensemble/generate_stream",
        ("generate_stream",),
        sampling=("top_p", "top_k", "temperature", "repetition_penalty"),
        lora=False,
    ),
    BackendInfo(
        "llama.cpp", "/completion", ("completion",), sampling=_OPENAI, ignore_eos=True, lora=False
    ),
    BackendInfo("ollama", "/api/generate", ("api/generate", "api/chat"), sampling=_OPENAI),
    BackendInfo(
        "anthropic",
        "/v1/messages",
        ("messages",),
        sampling=("top_p", "top_k", "temperature"),
        chat=True,
        lora=False,
    ),
)

BUILT_IN: tuple[str, ...] = tuple(row.name for row in _ROWS)
BACKENDS: dict[str, BackendInfo] = {row.name: row for row in _ROWS}


def register_backend(info: BackendInfo) -> None:
    """Make a backend known under its name, for ``--backend``. A later one of the same name wins."""
    BACKENDS[info.name] = info


def backend_names() -> tuple[str, ...]:
    """All names that ``--backend`` knows: the table's, then those of entry points and locustfiles.
    Loads nothing.
    """
    points = (point.name for point in entry_points(group="llmbench_locust.backends"))
    return tuple(dict.fromkeys((*BACKENDS, *points)))


def backend_info(name: str) -> BackendInfo:
    """The row of a name. Raises ConfigError for one that nobody brings, or whose package does not
    load.
    """
    found = BACKENDS.get(name)
    if found is not None:
        return found
    for point in entry_points(group="llmbench_locust.backends"):
        if point.name == name:
            try:
                info: BackendInfo = point.load().info
            except Exception as e:  # whatever another package's module raises
                raise ConfigError(
                    f"--backend: {name!r} comes from {point.value}, which does not load: {e!r}"
                ) from e
            register_backend(info)
            return info
    raise ConfigError(f"--backend: {name!r} is not known; one of {', '.join(backend_names())}")
