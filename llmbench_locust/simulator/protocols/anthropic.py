"""Anthropic's /v1/messages: named events, content blocks, usage at the start and the end."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script
from llmbench_locust.simulator.protocols.chat import TOOL

_ERRORS = {
    429: "rate_limit_error",
    404: "not_found_error",
    401: "authentication_error",
    529: "overloaded_error",
}
_STOP = {"length": "max_tokens", "stop": "end_turn", "tool_calls": "tool_use"}


def _named(kind: bytes, rest: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (kind, kind, rest)


_TEXT = (
    b"event: content_block_delta\ndata: "
    b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"'
)


class Messages(Script):
    """`message_start` is sent at once, as by Anthropic's server; it has no token."""

    reasons = True
    tools = True

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt, turns = message_turns(body.get("messages"))
        limit = whole(body, "max_tokens")
        if limit is None:
            raise Refusal(400, "max_tokens: Field required", "invalid_request_error", "max_tokens")
        system = body.get("system")
        if isinstance(system, str):
            turns.insert(0, ("system", system))
        return Ask(prompt=prompt, prompt_tokens=count.chat(turns), max_tokens=limit)

    @classmethod
    def refusal_body(cls, refusal: Refusal) -> JsonValue:
        other = "invalid_request_error" if refusal.status < 500 else "api_error"
        kind = _ERRORS.get(refusal.status, other)
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def prepare(self) -> None:
        self.block = 0

    def _usage(self, output: int) -> dict[str, int]:
        if not self.ask.give_counts:
            return {}
        return {"input_tokens": self.ask.prompt_tokens, "output_tokens": output}

    def opening(self) -> Frames:
        message = orjson.dumps(self._message([], None, 0))
        return (_named(b"message_start", b',"message":' + message),)

    def _message(self, content: list[Json], stop: str | None, output: int) -> Json:
        return {
            "id": f"msg_{self.ident}",
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self.ask.model,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": self._usage(output),
        }

    def _block_start(self) -> bytes:
        if self.block == 0 and self.plan.reasoning:
            content = b'{"type":"thinking","thinking":"","signature":""}'
        elif self.plan.tool:
            content = b'{"type":"tool_use","id":"toolu_%b","name":"%b","input":{}}'
            content %= escaped(self.ident), TOOL.encode()
        else:
            content = b'{"type":"text","text":""}'
        rest = b',"content_block":%b,"index":%d' % (content, self.block)
        return _named(b"content_block_start", rest)

    def _block_stop(self) -> bytes:
        return _named(b"content_block_stop", b',"index":%d' % self.block)

    def lead(self) -> Frames:
        return (self._block_start(),)

    def event(self, index: int) -> bytes:
        piece = self.plan.pieces[index]
        if index < self.plan.reasoning:
            return self._delta(b'{"type":"thinking_delta","thinking":"%b"}' % piece)
        before = b""
        if index and index == self.plan.reasoning and self.block == 0:
            before = self._block_stop()
            self.block = 1
            before += self._block_start()
        if self.plan.tool:
            return before + self._delta(b'{"type":"input_json_delta","partial_json":"%b"}' % piece)
        return b'%b%b%b"},"index":%d}\n\n' % (before, _TEXT, piece, self.block)

    def _delta(self, delta: bytes) -> bytes:
        return _named(b"content_block_delta", b',"delta":%b,"index":%d' % (delta, self.block))

    def closing(self) -> Frames:
        ending: Json = {"delta": {"stop_reason": _STOP[self.plan.finish], "stop_sequence": None}}
        if usage := self._usage(self.plan.tokens):
            ending["usage"] = usage
        return (self._block_stop(), _named(b"message_delta", b"," + orjson.dumps(ending)[1:-1]))

    @property
    def done(self) -> Frames:  # type: ignore[override]
        return (_named(b"message_stop", b""),)

    def failure(self, message: str) -> Frames:
        rest = b',"error":{"type":"api_error","message":"%b"}' % escaped(message)
        return (_named(b"error", rest),)

    def whole(self) -> bytes:
        plan = self.plan
        answer = self.string(plan.text(plan.reasoning))
        content: list[Json] = []
        if plan.reasoning:
            thought = self.string(plan.text(0, plan.reasoning))
            content.append({"type": "thinking", "thinking": thought, "signature": ""})
        if plan.tool:
            call = {"type": "tool_use", "id": f"toolu_{self.ident}", "name": TOOL}
            content.append(call | {"input": orjson.loads(answer)})
        else:
            content.append({"type": "text", "text": answer})
        return orjson.dumps(self._message(content, _STOP[plan.finish], plan.tokens))
