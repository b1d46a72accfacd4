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


class OpenAIScript(Script):
    """`choices` events of index 0 to n-1 for each step; usage if requested; `[DONE]`."""

    prefix = "cmpl-"
    kinds = ("text_completion", "text_completion")  # of a chunk, of a whole body
    choice = b'"index":%d,"text":"'  # the part of a choice before its text
    middle = (  # the part after it
        b'","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,'
        b'"token_ids":null}]'
    )
    ended = b""  # the part after a finish reason

    def prepare(self) -> None:
        names = escaped(self.prefix + self.ident), escaped(self.kinds[0]), self.created
        head = b'{"id":"%b","object":"%b","created":%d,"model":"%b","choices":['
        self.head = head % (*names, escaped(self.ask.model))
        self.starts = [self._start(index) for index in range(self.ask.choices)]
        # Most events take only one concatenation.
        self.simple = self.ask.choices == 1 and not self.ask.continuous_usage
        self.start, self.end = self.starts[0], self.middle + b"}\n\n"

    def _start(self, index: int) -> bytes:
        choice = self.choice % index if b"%d" in self.choice else self.choice
        return b"data: " + self.head + b"{" + choice

    def event(self, index: int) -> bytes:
        if self.simple and index >= self.plan.reasoning:
            return self.start + self.plan.pieces[index] + self.end
        return self._events(index, self.middle, self.ask.continuous_usage)

    def last(self, index: int, finished: bool) -> bytes:
        reason = b'"finish_reason":"%b"%b' % (self.plan.finish.encode(), self.ended)
        end = self.middle.replace(b'"finish_reason":null', reason) if finished else self.middle
        return self._events(index, end, self.ask.continuous_usage or self.usage_with_choices)

    def _events(self, index: int, end: bytes, usage: bool) -> bytes:
        tail = b"," + self.usage(self.plan.tokens_after(index)) if usage else b""
        rest = self.content(index, end) + tail + b"}\n\n"
        return b"".join(start + rest for start in self.starts)

    def content(self, index: int, end: bytes) -> bytes:
        """The part after the start of a choice."""
        return self.plan.pieces[index] + end

    def closing(self) -> Frames:
        if not self.ask.include_usage or self.usage_with_choices:
            return ()
        return (b"data: %b],%b}\n\n" % (self.head, self.usage(self.plan.tokens)),)

    def whole(self) -> bytes:
        fixed = {**self.answer(), "finish_reason": self.plan.finish, "stop_reason": None}
        choices = [{"index": index, **fixed} for index in range(self.ask.choices)]
        usage = b"," + self.usage(self.plan.tokens) if self.ask.include_usage else b""
        chunk, body = (b'"object":"%b"' % kind.encode() for kind in self.kinds)
        head = self.head.replace(chunk, body, 1)
        return head + orjson.dumps(choices)[1:] + usage + b"}"

    def answer(self) -> Json:
        """A choice's fields in a non-streamed response."""
        raise NotImplementedError


class Completions(OpenAIScript):
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
        super().prepare()
        self.simple = self.simple and not self.ask.logprobs
        self.offset = 0

    def content(self, index: int, end: bytes) -> bytes:
        piece = self.plan.pieces[index]
        if self.ask.logprobs:
            end = end.replace(b'"logprobs":null', b'"logprobs":' + self._logprobs(piece))
        return piece + end

    def _logprobs(self, piece: bytes) -> bytes:
        found = b'{"text_offset":[%d],"token_logprobs":[-7.5],"tokens":["%b"],'
        found += b'"top_logprobs":[{"%b":-7.5}]}'
        offset, self.offset = self.offset, self.offset + len(self.string(piece))
        return found % (offset, piece, piece)

    def answer(self) -> Json:
        unset = ("logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids")
        return {"text": self.string(self.plan.text()), **dict.fromkeys(unset)}
