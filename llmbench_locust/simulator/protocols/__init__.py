"""The protocol of each path."""

from __future__ import annotations

from llmbench_locust.simulator.protocols.anthropic import Messages
from llmbench_locust.simulator.protocols.audio import Transcription
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.protocols.chat import Chat
from llmbench_locust.simulator.protocols.completions import Completions
from llmbench_locust.simulator.protocols.llamacpp import LlamaCpp
from llmbench_locust.simulator.protocols.ollama import OllamaChat, OllamaGenerate
from llmbench_locust.simulator.protocols.pooling import Embeddings, Infinity, Pooling, Rerank
from llmbench_locust.simulator.protocols.responses import Responses
from llmbench_locust.simulator.protocols.sglang import Sglang
from llmbench_locust.simulator.protocols.tensorrt import TensorRt
from llmbench_locust.simulator.protocols.tgi import Tgi

ROUTES: dict[str, type[Script]] = {
    "/v1/completions": Completions,
    "/v1/chat/completions": Chat,
    "/v1/responses": Responses,
    "/v1/audio/transcriptions": Transcription,
    "/v1/audio/translations": Transcription,
    "/v1/embeddings": Embeddings,
    "/embeddings": Infinity,
    "/pooling": Pooling,
    "/v1/rerank": Rerank,
    "/v2/rerank": Rerank,
    "/rerank": Rerank,
    "/generate_stream": Tgi,
    "/generate": Sglang,
    "/v2/models/ensemble/generate_stream": TensorRt,
    "/v2/models/ensemble/generate": TensorRt,
    "/completion": LlamaCpp,
    "/api/generate": OllamaGenerate,
    "/api/chat": OllamaChat,
    "/v1/messages": Messages,
}
