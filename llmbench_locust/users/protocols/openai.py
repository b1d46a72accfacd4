"""OpenAI-compatible completions and chat: vLLM, SGLang, llama.cpp's server, TGI, hosted APIs."""

from __future__ import annotations

from llmbench_locust.backends import BACKENDS
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import chat_messages
from llmbench_locust.users.protocols.sinks import TextSink, seconds
from llmbench_locust.workload.sample import SampleRequest


class OpenAISink(TextSink):
    """Common to completions and chat: ``[DONE]``, usage, and the number of tokens in a chunk."""

    def __init__(self) -> None:
        super().__init__()
        # Whether every token event so far had usage: then the difference to the previous one is its
        # number of tokens.
        self._usage_on_each = True

    def on_object(self, event: Json) -> int:
        before = max(self.output_tokens, 0)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage(usage)
        metrics = event.get("metrics")
        if isinstance(metrics, dict):
            self.server_queue_s = seconds(metrics.get("queue_time_ms"))
            self.server_ttft_s = seconds(metrics.get("time_to_first_token_ms"))
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choices, list) or not isinstance(choice, dict):
            return 0
        plain = self._token(choice)
        reason = choice.get("finish_reason")
        self.finish(reason)
        if plain is None:
            return 0
        if isinstance(usage, dict):
            return max(1, self.output_tokens - before) if self._usage_on_each else 1
        self._usage_on_each = False
        alone = len(choices) == 1 and not choice.get("logprobs")
        return -1 if plain and not reason and alone else 1

    def _usage(self, usage: Json) -> None:
        self.counts(
            output=usage.get("completion_tokens"),
            input=usage.get("prompt_tokens"),
            cached=as_object(usage.get("prompt_tokens_details")).get("cached_tokens"),
            reasoning=as_object(usage.get("completion_tokens_details")).get("reasoning_tokens"),
        )

    def _token(self, choice: Json) -> bool | None:
        """None: no token. True: the next one like it may differ only in its text."""
        raise NotImplementedError


class CompletionSink(OpenAISink):
    """A chunk with choices is a token event; its text may be empty (a special token)."""

    markers = (b'"text":"',)

    def _token(self, choice: Json) -> bool | None:
        text = choice.get("text")
        self.answer(text if isinstance(text, str) else "")
        return isinstance(text, str)


class ChatSink(OpenAISink):
    """A delta with content, reasoning or a tool call is a token event; a role alone is not."""

    markers = (b'"content":"', b'"reasoning_content":"', b'"reasoning":"')

    def _token(self, choice: Json) -> bool | None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return None
        content = delta.get("content")
        call = delta.get("tool_calls") or delta.get("function_call")
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if content or call:
            self.answer(_text(content) if content else _called(call))
            if thought:  # the chunk in which reasoning turns into the answer
                self.thoughts.append(_text(thought))
            return isinstance(content, str) and not call and not thought
        if thought:
            return self.reasoning(_text(thought)) and isinstance(thought, str)
        if content == "" and not delta.get("role"):
            self.nothing()
            return False
        return None


def _text(content: object) -> str:
    """The text of a delta's content: a string, or parts as Mistral's API sends them."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content)


def _called(call: object) -> str:
    """The text that a tool call's chunk adds: its name, then pieces of its arguments."""
    calls = call if isinstance(call, list) else [{"function": call}]
    text = ""
    for one in calls:
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict):
            text += str(function.get("name") or "") + str(function.get("arguments") or "")
    return text


class Completions(Protocol):
    info = BACKENDS["openai"]
    sink_class = CompletionSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {
            "model": model,
            "prompt": sample.prompt,
            "repetition_penalty": 1.0,
            "max_tokens": sample.expected_output_len,
            "logprobs": self.wire.logprobs,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


class VLLMCompletions(Completions):
    info = BACKENDS["vllm"]


class Chat(Protocol):
    info = BACKENDS["openai-chat"]
    sink_class = ChatSink

    def body(self, sample: SampleRequest, model: str) -> Json:
        logprobs = self.wire.logprobs
        return {
            "model": model,
            "messages": chat_messages(sample),
            "max_completion_tokens": sample.expected_output_len,
            "logprobs": None if logprobs is None else True,
            "top_logprobs": logprobs,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
