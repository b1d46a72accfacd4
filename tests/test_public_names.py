"""The names that a locustfile or another package imports from the top: they are kept."""

import subprocess
import sys

import llmbench_locust

PLAIN = [
    "BackendInfo",
    "DatasetInfo",
    "Protocol",
    "RequestRecord",
    "SampleRequest",
    "TextSink",
    "register_backend",
    "register_dataset",
    "register_protocol",
]
LOCUSTS = [
    "AnthropicUser",
    "ArrivalShape",
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
    "install",
]


def test_the_names_are_these_and_all_are_there():
    assert sorted(llmbench_locust.__all__) == sorted([*PLAIN, *LOCUSTS, "__version__"])
    assert all(getattr(llmbench_locust, name) for name in llmbench_locust.__all__)


def test_those_that_need_no_locust_import_none():
    names = ", ".join(PLAIN)
    code = f"import sys; from llmbench_locust import {names}; print('locust' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
