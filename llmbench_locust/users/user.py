"""The Locust users: a public class for each backend, to use as it is or with own tasks."""

from __future__ import annotations

from typing import ClassVar

from locust import User

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.records import RequestRecord
from llmbench_locust.workload.sample import Prompt, SampleRequest


class BackendUser(User):
    """Speaks one backend's protocol. ``backend``: its name; None takes ``--backend``.

    With an `ArrivalShape` the user's task is `serve`: carry tickets when they are due. Without one,
    tasks of your own call `complete` (or `chat`): closed loop, the same records and metrics.
    """

    abstract = True
    backend: ClassVar[str | None] = None

    def serve(self) -> None:
        """Stand ready for the requests of the plan until the run is over."""
        self.environment.llmbench.agent.attend(self)

    def send(self, sample: SampleRequest) -> RequestRecord:
        """Send one request now and wait for its outcome. Never raises for a fault of the server:
        look at ``.success``.
        """
        record: RequestRecord = self.environment.llmbench.agent.perform(sample, self)
        return record

    def complete(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 128,
        prompt_len: int | None = None,
        label: str | None = None,
        **overrides: JsonValue,
    ) -> RequestRecord:
        """One completion. ``prompt_len``: tokens, if known. ``overrides``: fields of the body."""
        return self.send(
            SampleRequest(
                prompt, prompt_len or 0, max_tokens, label=label, body_overrides=overrides or None
            )
        )


class _ChatUser(BackendUser):
    abstract = True

    def chat(
        self,
        messages: str | list[Json],
        *,
        max_tokens: int = 128,
        label: str | None = None,
        **overrides: JsonValue,
    ) -> RequestRecord:
        """One answer, whose text is in ``.text``, to a text or to chat messages."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        last = messages[-1].get("content", "") if messages else ""
        prompt = last if isinstance(last, str) else ""
        sample = SampleRequest(
            prompt,
            0,
            max_tokens,
            chat_messages=messages,
            label=label,
            body_overrides=overrides or None,
        )
        return self.send(sample)


class OpenAIUser(BackendUser):
    """OpenAI-compatible completions: vLLM, SGLang, llama.cpp's server and others."""

    abstract = True
    backend = "openai"


class OpenAIChatUser(_ChatUser):
    """OpenAI-compatible chat completions."""

    abstract = True
    backend = "openai-chat"


class OpenAIResponsesUser(BackendUser):
    """OpenAI's responses API."""

    abstract = True
    backend = "openai-responses"


class OpenAIAudioUser(BackendUser):
    """OpenAI-compatible transcriptions and translations."""

    abstract = True
    backend = "openai-audio"


class OpenAIEmbeddingsUser(BackendUser):
    """OpenAI-compatible embeddings."""

    abstract = True
    backend = "openai-embeddings"


class OpenAIEmbeddingsChatUser(_ChatUser):
    """vLLM's embeddings of chat messages."""

    abstract = True
    backend = "openai-embeddings-chat"


class OpenAIEmbeddingsClipUser(_ChatUser):
    """Embeddings of a text or an image by a CLIP model."""

    abstract = True
    backend = "openai-embeddings-clip"


class OpenAIEmbeddingsVLM2VecUser(_ChatUser):
    """Embeddings of images by a VLM2Vec model."""

    abstract = True
    backend = "openai-embeddings-vlm2vec"


class InfinityEmbeddingsUser(BackendUser):
    """infinity's embeddings."""

    abstract = True
    backend = "infinity-embeddings"


class InfinityEmbeddingsClipUser(BackendUser):
    """infinity's embeddings by a CLIP model."""

    abstract = True
    backend = "infinity-embeddings-clip"


class VLLMPoolingUser(BackendUser):
    """vLLM's pooling endpoint."""

    abstract = True
    backend = "vllm-pooling"


class VLLMRerankUser(BackendUser):
    """vLLM's rerank endpoint."""

    abstract = True
    backend = "vllm-rerank"


class TGIUser(BackendUser):
    """Text Generation Inference."""

    abstract = True
    backend = "tgi"


class SGLangUser(BackendUser):
    """SGLang's own /generate."""

    abstract = True
    backend = "sglang"


class TensorRTLLMUser(BackendUser):
    """TensorRT-LLM behind Triton."""

    abstract = True
    backend = "tensorrt-llm"


class LlamaCppUser(BackendUser):
    """llama.cpp's own /completion."""

    abstract = True
    backend = "llama.cpp"


class OllamaUser(_ChatUser):
    """Ollama's /api/generate and /api/chat."""

    abstract = True
    backend = "ollama"


class AnthropicUser(_ChatUser):
    """Anthropic's messages."""

    abstract = True
    backend = "anthropic"
