"""One row for each backend: its endpoint and what its requests support.

Options are checked against this table and users are built on it; it imports neither. Another
package adds a backend with an entry point in the group ``llmbench_locust.backends`` (a `Protocol`
class with ``info``); a locustfile adds one with `register_backend`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmbench_locust.entry_points import Registry
from llmbench_locust.json_types import Json


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One row.

    ``endings``: an ``--endpoint`` must end with one of them; with one of ``chat_endings`` the body
    holds messages. ``kind``: "generation" or "pooling". ``sampling``: the supported sampling
    parameters; ``nested``: the field of the body that holds them, "" for the body itself.
    ``ignore_eos``, ``logprobs``, ``lora``: whether a request can ask for them. ``modalities``: of
    multi-modal content. ``chat``: the body holds messages, so that a dataset applies no chat
    template. ``applies_template``: the server takes ``chat_template_kwargs``. ``token_ids``: a
    prompt may be token ids. ``only``: "audio" or "documents" where it takes nothing else.
    ``api_key``: the environment variable of its key. ``schema_fields``: the fields of a body that
    ask for a response that follows a JSON schema; ``tool_fields``: those for a --tool-choice; None
    if not supported. ``protocol``: its `Protocol` class as "module:Class"; "" for a class that
    registers itself. ``user``: the name of its Locust user class; "" for none.
    """

    name: str
    endpoint: str
    endings: tuple[str, ...]
    protocol: str = ""
    user: str = ""
    kind: str = "generation"
    sampling: tuple[str, ...] = ()
    nested: str = ""
    ignore_eos: bool = False
    logprobs: bool = False
    lora: bool = True
    modalities: tuple[str, ...] = ()
    chat: bool = False
    chat_endings: tuple[str, ...] = ()
    applies_template: bool = False
    token_ids: bool = False
    only: str = ""
    api_key: str = "OPENAI_API_KEY"
    schema_fields: Callable[[Json], Json] | None = None
    tool_fields: Callable[[str], Json] | None = None


BACKENDS = Registry[BackendInfo]("--backend", "llmbench_locust.backends", lambda cls: cls.info)
backend_names, backend_info = BACKENDS.names, BACKENDS.row


def register_backend(info: BackendInfo) -> None:
    """Add a backend for ``--backend``. It replaces an earlier one of the same name."""
    BACKENDS[info.name] = info


_HERE = "llmbench_locust.users.protocols."
_OPENAI = (
    *("top_p", "top_k", "min_p", "temperature", "frequency_penalty"),
    *("presence_penalty", "repetition_penalty"),
)
_TGI = ("top_p", "top_k", "temperature", "repetition_penalty")
_MEDIA = ("image", "audio", "video")
_CHOICES = ("auto", "none", "required")


def _response_format(schema: Json) -> Json:
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _text_format(schema: Json) -> Json:
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    return {"text": {"format": form}}


def _chat_tool(choice: str) -> Json:
    named = {"type": "function", "function": {"name": choice}}
    return {"tool_choice": choice if choice in _CHOICES else named}


def _responses_tool(choice: str) -> Json:
    return {"tool_choice": choice if choice in _CHOICES else {"type": "function", "name": choice}}


def _anthropic_tool(choice: str) -> Json:
    if choice in _CHOICES:
        return {"tool_choice": {"type": "any" if choice == "required" else choice}}
    return {"tool_choice": {"type": "tool", "name": choice}}


def _openai(name: str, endpoint: str, ending: str, cls: str, **row: Any) -> BackendInfo:
    known: Json = {
        "sampling": _OPENAI,
        "ignore_eos": True,
        "logprobs": True,
        "schema_fields": _response_format,
    }
    return BackendInfo(name, endpoint, (ending,), _HERE + cls, **(known | row))


def _pooling(name: str, endpoint: str, cls: str, **row: Any) -> BackendInfo:
    ending = endpoint.rpartition("/")[2]
    return BackendInfo(name, endpoint, (ending,), _HERE + f"pooling:{cls}", kind="pooling", **row)


for _row in (
    _openai(
        "openai",
        "/v1/completions",
        "completions",
        "openai:Completions",
        user="OpenAIUser",
        token_ids=True,
    ),
    _openai("vllm", "/v1/completions", "completions", "openai:VLLMCompletions", token_ids=True),
    _openai(
        "openai-chat",
        "/v1/chat/completions",
        "chat/completions",
        "openai:Chat",
        user="OpenAIChatUser",
        modalities=_MEDIA,
        chat=True,
        tool_fields=_chat_tool,
        applies_template=True,
    ),
    _openai(
        "openai-responses",
        "/v1/responses",
        "responses",
        "responses:Responses",
        user="OpenAIResponsesUser",
        sampling=("top_p", "temperature"),
        logprobs=False,
        chat=True,
        schema_fields=_text_format,
        tool_fields=_responses_tool,
    ),
    BackendInfo(
        "openai-audio",
        "/v1/audio/transcriptions",
        ("transcriptions", "translations"),
        _HERE + "audio:Transcriptions",
        user="OpenAIAudioUser",
        sampling=_OPENAI,
        modalities=("audio",),
        only="audio",
    ),
    _pooling("openai-embeddings", "/v1/embeddings", "Embeddings", user="OpenAIEmbeddingsUser"),
    _pooling(
        "openai-embeddings-chat",
        "/v1/embeddings",
        "ChatEmbeddings",
        user="OpenAIEmbeddingsChatUser",
        modalities=_MEDIA,
        chat=True,
    ),
    _pooling(
        "openai-embeddings-clip",
        "/v1/embeddings",
        "ClipEmbeddings",
        user="OpenAIEmbeddingsClipUser",
        modalities=("image",),
        chat=True,
    ),
    _pooling(
        "openai-embeddings-vlm2vec",
        "/v1/embeddings",
        "VLM2VecEmbeddings",
        user="OpenAIEmbeddingsVLM2VecUser",
        modalities=("image",),
        chat=True,
    ),
    _pooling(
        "infinity-embeddings",
        "/embeddings",
        "InfinityEmbeddings",
        user="InfinityEmbeddingsUser",
        modalities=("image",),
    ),
    _pooling(
        "infinity-embeddings-clip",
        "/embeddings",
        "InfinityClipEmbeddings",
        user="InfinityEmbeddingsClipUser",
        modalities=("image",),
    ),
    _pooling("vllm-pooling", "/pooling", "Pooling", user="VLLMPoolingUser", token_ids=True),
    _pooling("vllm-rerank", "/v1/rerank", "Rerank", user="VLLMRerankUser", only="documents"),
    BackendInfo(
        "tgi",
        "/generate_stream",
        ("generate_stream",),
        _HERE + "tgi:TGI",
        user="TGIUser",
        sampling=_TGI,
        nested="parameters",
        schema_fields=lambda schema: {"parameters": {"grammar": {"type": "json", "value": schema}}},
    ),
    BackendInfo(
        "sglang",
        "/generate",
        ("generate",),
        _HERE + "sglang:SGLang",
        user="SGLangUser",
        sampling=_OPENAI,
        nested="sampling_params",
        schema_fields=lambda schema: {"sampling_params": {"json_schema": json.dumps(schema)}},
        ignore_eos=True,
        token_ids=True,
    ),
    BackendInfo(
        "tensorrt-llm",
        "/v2/models/ensemble/generate_stream",
        ("generate_stream",),
        _HERE + "trtllm:TensorRTLLM",
        user="TensorRTLLMUser",
        sampling=_TGI,
        lora=False,
    ),
    BackendInfo(
        "llama.cpp",
        "/completion",
        ("completion",),
        _HERE + "llamacpp:LlamaCpp",
        user="LlamaCppUser",
        schema_fields=lambda schema: {"json_schema": schema},
        sampling=_OPENAI,
        ignore_eos=True,
        lora=False,
    ),
    BackendInfo(
        "ollama",
        "/api/generate",
        ("api/generate", "api/chat"),
        _HERE + "ollama:Ollama",
        user="OllamaUser",
        sampling=_OPENAI,
        nested="options",
        schema_fields=lambda schema: {"format": schema},
        chat_endings=("api/chat",),
    ),
    BackendInfo(
        "anthropic",
        "/v1/messages",
        ("messages",),
        _HERE + "anthropic:Anthropic",
        user="AnthropicUser",
        sampling=("top_p", "top_k", "temperature"),
        chat=True,
        lora=False,
        api_key="ANTHROPIC_API_KEY",
        tool_fields=_anthropic_tool,
    ),
):
    register_backend(_row)
