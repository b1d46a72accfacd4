"""llmbench-locust: load-test LLM servers with Locust.

Importing a user class or the load shape from here adds our flags, messages and events to Locust.
The parts that need no Locust (`arrivals`, decoders, metrics) are imported from their own modules
and add nothing.
"""

from __future__ import annotations

from typing import Any

from llmbench_locust._version import __version__

_USERS = (
    "AnthropicUser",
    "BackendUser",
    "InfinityEmbeddingsClipUser",
    "InfinityEmbeddingsUser",
    "LlamaCppUser",
    "OllamaUser",
    "OpenAIAudioUser",
    "OpenAIChatUser",
    "OpenAIEmbeddingsChatUser",
    "OpenAIEmbeddingsClipUser",
    "OpenAIEmbeddingsUser",
    "OpenAIEmbeddingsVLM2VecUser",
    "OpenAIResponsesUser",
    "OpenAIUser",
    "SGLangUser",
    "TGIUser",
    "TensorRTLLMUser",
    "VLLMPoolingUser",
    "VLLMRerankUser",
)

__all__ = ["ArrivalShape", "RequestRecord", "SampleRequest", "__version__", "install", *_USERS]


def __getattr__(name: str) -> Any:
    # Late, so that `llmbench_locust.arrivals` and the simulator start without Locust.
    if name == "RequestRecord":
        from llmbench_locust.records import RequestRecord

        return RequestRecord
    if name == "SampleRequest":
        from llmbench_locust.workload.sample import SampleRequest

        return SampleRequest
    if name not in __all__:
        raise AttributeError(f"module 'llmbench_locust' has no attribute {name!r}")
    from llmbench_locust import plugin

    plugin.install()
    if name == "install":
        return plugin.install
    if name == "ArrivalShape":
        from llmbench_locust.shape import ArrivalShape

        return ArrivalShape
    from llmbench_locust.users import user

    return getattr(user, name)
