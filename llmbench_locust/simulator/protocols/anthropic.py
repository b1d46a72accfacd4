"""Anthropic's /v1/messages: named events, content blocks, usage at the start and at the end."""

from __future__ import annotations

from typing import Any

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, Refusal, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script
from llmbench_locust.simulator.protocols.chat import TOOL

_STOP = {"length": "max_tokens", "stop": "end_turn", "tool_calls": "tool_use"}


def _named(kind: bytes, rest: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (kind, kind, rest)


class Messages(Script):
    """`message_start` goes out at once, as Anthropic's own server sends it; it is no token."""

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
    def refusal_body(cls, refusal: Refusal) -> Any:
        kinds = {
            429: "rate_limit_error",
            404: "not_found_error",
            401: "authentication_error",
            529: "overloaded_error",
        }
        kind = kinds.get(
            refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error"
        )
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def prepare(self) -> None:
        self.block = 0
        self.text_start = (
            b"event: content_block_delta\ndata: "
            b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"'
        )

    def _usage(self, output: int) -> dict[str, int]:
        if not self.ask.give_counts:
            return {}
        return {"input_tokens": self.ask.prompt_tokens, "output_tokens": output}

    def opening(self) -> Frames:
        message: Json = {
            "id": f"msg_{self.ident}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self.ask.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(0),
        }
        return (_named(b"message_start", b',"message":' + orjson.dumps(message)),)

    def _block_start(self) -> bytes:
        if self.block == 0 and self.plan.reasoning:
            content = b'{"type":"thinking","thinking":"","signature":""}'
        elif self.plan.tool:
            content = b'{"type":"tool_use","id":"toolu_%b","name":"%b","input":{}}' % (
                escaped(self.ident),
                TOOL.encode(),
            )
        else:
            content = b'{"type":"text","text":""}'
        return _named(
            b"content_block_start", b',"content_block":%b,"index":%d' % (content, self.block)
        )

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
        return b'%b%b%b"},"index":%d}\n\n' % (before, self.text_start, piece, self.block)

    def _delta(self, delta: bytes) -> bytes:
        return _named(b"content_block_delta", b',"delta":%b,"index":%d' % (delta, self.block))

    def last(self, index: int, finished: bool) -> bytes:
        return self.event(index)

    def closing(self) -> Frames:
        delta = {"stop_reason": _STOP[self.plan.finish], "stop_sequence": None}
        usage = self._usage(self.plan.tokens)
        ending = (
            b',"delta":'
            + orjson.dumps(delta)
            + (b',"usage":' + orjson.dumps(usage) if usage else b"")
        )
        return (self._block_stop(), _named(b"message_delta", ending))

    @property
    def done(self) -> Frames:  # type: ignore[override]
        return (_named(b"message_stop", b""),)

    def failure(self, message: str) -> Frames:
        return (
            _named(b"error", b',"error":{"type":"api_error","message":"%b"}' % escaped(message)),
        )

    def whole(self) -> bytes:
        plan = self.plan
        answer = self.string(plan.text(plan.reasoning))
        content: list[Json] = []
        if plan.reasoning:
            thought = self.string(plan.text(0, plan.reasoning))
            content.append({"type": "thinking", "thinking": thought, "signature": ""})
        if plan.tool:
            content.append(
                {
                    "type": "tool_use",
                    "id": f"toolu_{self.ident}",
                    "name": TOOL,
                    "input": orjson.loads(answer),
                }
            )
        else:
            content.append({"type": "text", "text": answer})
        return orjson.dumps(
            {
                "id": f"msg_{self.ident}",
                "type": "message",
                "role": "assistant",
                "content": content,
                "model": self.ask.model,
                "stop_reason": _STOP[plan.finish],
                "stop_sequence": None,
                "usage": self._usage(plan.tokens),
            }
        )
