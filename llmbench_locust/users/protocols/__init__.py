"""Which class speaks which backend's protocol. Families are imported when they are asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from llmbench_locust.backends import register_backend
from llmbench_locust.errors import ConfigError
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.sinks import BodySink, TextSink

_HERE = "llmbench_locust.users.protocols."
_CLASSES: dict[str, str] = {
    "openai": "openai:Completions",
    "vllm": "openai:VLLMCompletions",
    "openai-chat": "openai:Chat",
    "openai-responses": "responses:Responses",
    "openai-audio": "audio:Transcriptions",
    "openai-embeddings": "pooling:Embeddings",
    "openai-embeddings-chat": "pooling:ChatEmbeddings",
    "openai-embeddings-clip": "pooling:ClipEmbeddings",
    "openai-embeddings-vlm2vec": "pooling:VLM2VecEmbeddings",
    "infinity-embeddings": "pooling:InfinityEmbeddings",
    "infinity-embeddings-clip": "pooling:InfinityClipEmbeddings",
    "vllm-pooling": "pooling:Pooling",
    "vllm-rerank": "pooling:Rerank",
    "tgi": "tgi:TGI",
    "sglang": "sglang:SGLang",
    "tensorrt-llm": "trtllm:TensorRTLLM",
    "llama.cpp": "llamacpp:LlamaCpp",
    "ollama": "ollama:Ollama",
    "anthropic": "anthropic:Anthropic",
}
_REGISTERED: dict[str, type[Protocol]] = {}


def register_protocol(protocol: type[Protocol]) -> type[Protocol]:
    """Make one's own protocol known by its ``info.name``; usable as a decorator in a locustfile."""
    register_backend(protocol.info)
    _REGISTERED[protocol.info.name] = protocol
    return protocol


def protocol_for(name: str) -> type[Protocol]:
    """The class of a backend's name. Raises ConfigError for one that nobody brings."""
    found = _REGISTERED.get(name)
    if found is not None:
        return found
    if name in _CLASSES:
        module, _, attribute = _CLASSES[name].partition(":")
        cls: type[Protocol] = getattr(import_module(_HERE + module), attribute)
        return cls
    for point in entry_points(group="llmbench_locust.backends"):
        if point.name == name:
            return register_protocol(point.load())
    raise ConfigError(f"--backend: {name!r} is not known")


__all__ = ["BodySink", "Protocol", "TextSink", "protocol_for", "register_protocol"]
