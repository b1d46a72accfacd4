"""OpenAI's completions, as vLLM writes them."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, Refusal, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script


def prompt_tokens(prompt: object, count: Counter) -> int:
    """Tokens of a text, of token ids, or of a list of either. Raises Refusal."""
    if isinstance(prompt, str):
        return count(prompt)
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, int) for item in prompt):
            return len(prompt)
        return sum(prompt_tokens(item, count) for item in prompt)
    raise Refusal(400, "prompt must be a text, token ids, or a list of either.", param="prompt")


def stream_options(body: Json) -> tuple[bool, bool]:
    """(usage at the end, usage on every chunk)."""
    options = body.get("stream_options") or {}
    every = bool(options.get("continuous_usage_stats"))
    return bool(options.get("include_usage")) or every, every


class Completions(Script):
    """`choices` events of index 0 to n-1 for each step; usage where it was asked for; `[DONE]`."""

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt = body.get("prompt")
        usage, every = stream_options(body)
        return Ask(
            prompt=prompt,
            prompt_tokens=prompt_tokens(prompt, count),
            max_tokens=whole(body, "max_tokens", "max_completion_tokens"),
            choices=whole(body, "n") or 1,
            include_usage=usage,
            continuous_usage=every,
            logprobs=body.get("logprobs") is not None and body.get("logprobs") is not False,
        )

    def prepare(self) -> None:
        self.head = (
            b'{"id":"%b","object":"text_completion","created":%d,"model":"%b","choices":['
            % (
                escaped("cmpl-" + self.ident),
                self.created,
                escaped(self.ask.model),
            )
        )
        self.starts = [
            b'data: %b{"index":%d,"text":"' % (self.head, index)
            for index in range(self.ask.choices)
        ]
        self.middle = b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]'
        self.simple = (
            self.ask.choices == 1 and not self.ask.continuous_usage and not self.ask.logprobs
        )
        self.start = self.starts[0]
        self.end = self.middle + b"}\n\n"
        self.offset = 0

    def event(self, index: int) -> bytes:
        if self.simple:
            return self.start + self.plan.pieces[index] + self.end
        return self._event(index, b"null", self.ask.continuous_usage)

    def last(self, index: int, finished: bool) -> bytes:
        finish = b'"%b"' % self.plan.finish.encode() if finished else b"null"
        return self._event(index, finish, self.ask.continuous_usage or self.usage_with_choices)

    def _event(self, index: int, finish: bytes, usage: bool) -> bytes:
        piece = self.plan.pieces[index]
        end = self.middle.replace(b'"finish_reason":null', b'"finish_reason":' + finish)
        if self.ask.logprobs:
            end = end.replace(b'"logprobs":null', b'"logprobs":' + self._logprobs(piece))
        tail = b"," + self.usage(self.plan.tokens_after(index)) if usage else b""
        return b"".join(start + piece + end + tail + b"}\n\n" for start in self.starts)

    def _logprobs(self, piece: bytes) -> bytes:
        answer = (
            b'{"text_offset":[%d],"token_logprobs":[-7.5],"tokens":["%b"],"top_logprobs":[{"%b":-7.5}]}'
            % (
                self.offset,
                piece,
                piece,
            )
        )
        self.offset += len(self.string(piece))
        return answer

    def closing(self) -> Frames:
        if not self.ask.include_usage or self.usage_with_choices:
            return ()
        return (b"data: %b],%b}\n\n" % (self.head, self.usage(self.plan.tokens)),)

    def whole(self) -> bytes:
        text = self.string(self.plan.text())
        choices = [
            {
                "index": index,
                "text": text,
                "logprobs": None,
                "finish_reason": self.plan.finish,
                "stop_reason": None,
                "token_ids": None,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
            }
            for index in range(self.ask.choices)
        ]
        head = self.head + orjson.dumps(choices)[1:]
        return (
            head + (b"," + self.usage(self.plan.tokens) if self.ask.include_usage else b"") + b"}"
        )
