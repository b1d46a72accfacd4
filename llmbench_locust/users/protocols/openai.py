"""OpenAI-compatible completions and chat completions: vLLM, SGLang, llama.cpp's server, TGI, hosted APIs."""

from __future__ import annotations

from typing import Any

from llmbench_locust.backends import BACKENDS
from llmbench_locust.users.protocols.base import Protocol, TextSink, count
from llmbench_locust.workload.sample import SampleRequest


class OpenAISink(TextSink):
    """What completions and chat share: ``[DONE]``, usage, and how many tokens a chunk carries."""

    def on_event(self, data: bytes) -> int:
        if data.strip() == b"[DONE]":
            self.finished = True
            return 0
        event = self.parse(data)
        if event is None:
            return 0
        before = self.output_tokens
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage(usage)
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return 0
        choice = choices[0]
        if not isinstance(choice, dict):
            self.error = "an event is of a form that is not known"
            return 0
        plain = self._token(choice)
        reason = choice.get("finish_reason")
        if reason:
            self.finish_reason = str(reason)
        if plain is None:
            return 0
        if usage is not None:
            # Usage on every chunk: what was added since is what this one carries.
            added = self.output_tokens - max(before, 0)
            return added if self.output_tokens >= 0 and added > 0 else 1
        return -1 if plain and not reason and len(choices) == 1 and not choice.get("logprobs") else 1

    def _usage(self, usage: dict[str, Any]) -> None:
        if (n := count(usage.get("completion_tokens"))) >= 0:
            self.output_tokens = n
        if (n := count(usage.get("prompt_tokens"))) >= 0:
            self.input_tokens = n
        details = usage.get("completion_tokens_details")
        if isinstance(details, dict) and (n := count(details.get("reasoning_tokens"))) >= 0:
            self.reasoning_tokens = n

    def _token(self, choice: dict[str, Any]) -> bool | None:
        """None: no token. True: nothing but its text may differ in the next one like it."""
        raise NotImplementedError


class CompletionSink(OpenAISink):
    markers = (b'"text":"',)

    def _token(self, choice: dict[str, Any]) -> bool | None:
        text = choice.get("text")
        self.answer(text if isinstance(text, str) else "")
        return isinstance(text, str)


class ChatSink(OpenAISink):
    # Only the answer: a run of reasoning must be counted event by event until the answer begins.
    markers = (b'"content":"',)

    def _token(self, choice: dict[str, Any]) -> bool | None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return None
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            self.reasoning(str(thought))
            return False
        content = delta.get("content")
        if content:
            self.answer(str(content))
            return isinstance(content, str) and not delta.get("tool_calls")
        call = delta.get("tool_calls") or delta.get("function_call")
        if call:
            self.answer(_arguments(call))
            return False
        if content == "" and not delta.get("role"):
            self.answer("")
            # An empty text in the template would make every event alike a token: it is one, but learn from a real one.
            return False
        return None


def _arguments(call: Any) -> str:
    """The text that a tool call's chunk adds: name, then arguments, piece by piece."""
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

    def body(self, sample: SampleRequest, model: str) -> dict[str, Any]:
        body = {
            "model": model,
            "prompt": sample.prompt,
            "repetition_penalty": 1.0,
            "max_tokens": sample.expected_output_len,
            "logprobs": self.wire.logprobs,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {k: v for k, v in body.items() if v is not None}


class VLLMCompletions(Completions):
    info = BACKENDS["vllm"]


class Chat(Protocol):
    info = BACKENDS["openai-chat"]
    sink_class = ChatSink

    def body(self, sample: SampleRequest, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": messages_of(sample),
            "max_completion_tokens": sample.expected_output_len,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.wire.logprobs is not None:
            body["logprobs"] = True
            body["top_logprobs"] = self.wire.logprobs
        return {k: v for k, v in body.items() if v is not None}


def messages_of(sample: SampleRequest, *, media_first: bool = False) -> list[dict[str, Any]]:
    """The sample as chat messages: its own, or one of the user with a text part and the media."""
    if sample.chat_messages is not None:
        return sample.chat_messages
    if isinstance(sample.prompt, list) and sample.prompt and isinstance(sample.prompt[0], dict):
        return sample.prompt
    text = [{"type": "text", "text": text_of(sample)}]
    media = media_of(sample)
    return [{"role": "user", "content": [*media, *text] if media_first else [*text, *media]}]


def media_of(sample: SampleRequest) -> list[dict[str, Any]]:
    """The multi-modal content parts, if any."""
    media = sample.multi_modal
    if media is None:
        return []
    return media if isinstance(media, list) else [media]


def text_of(sample: SampleRequest) -> str:
    """The prompt as one text."""
    if isinstance(sample.prompt, str):
        return sample.prompt
    return " ".join(str(part) for part in sample.prompt)
