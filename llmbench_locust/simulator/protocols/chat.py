"""OpenAI's chat completions as vLLM writes them, with reasoning and tool calls on request."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script
from llmbench_locust.simulator.protocols.completions import stream_options

TOOL = "get_weather"


class Chat(Script):
    """`delta` events of index 0 to n-1 for each step; usage where it was asked for; `[DONE]`."""

    reasons = True
    tools = True

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        prompt, turns = message_turns(body.get("messages"))
        usage, every = stream_options(body)
        return Ask(
            prompt=prompt,
            prompt_tokens=count.chat(turns),
            max_tokens=whole(body, "max_completion_tokens", "max_tokens"),
            choices=whole(body, "n") or 1,
            include_usage=usage,
            continuous_usage=every,
        )

    def prepare(self) -> None:
        self.head = (
            b'{"id":"%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":['
            % (
                escaped("chatcmpl-" + self.ident),
                self.created,
                escaped(self.ask.model),
            )
        )
        self.starts = [
            b'data: %b{"index":%d,"delta":{' % (self.head, index)
            for index in range(self.ask.choices)
        ]
        self.middle = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]'
        self.simple = self.ask.choices == 1 and not self.ask.continuous_usage
        self.reasoning = self.plan.reasoning
        self.start = self.starts[0] + b'"content":"'
        self.end = b'"' + self.middle + b"}\n\n"
        if self.plan.tool:
            self.simple = False

    def lead(self) -> Frames:
        usage = b"," + self.usage(0) if self.ask.continuous_usage else b""
        end = (
            b'"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null%b}\n\n'
            % usage
        )
        return tuple(start + end for start in self.starts)

    def event(self, index: int) -> bytes:
        if self.simple and index >= self.reasoning:
            return self.start + self.plan.pieces[index] + self.end
        return self._event(index, self.middle, self.ask.continuous_usage)

    def last(self, index: int, finished: bool) -> bytes:
        finish = self.plan.finish.encode()
        end = self.middle.replace(
            b'"finish_reason":null', b'"finish_reason":"%b","stop_reason":null' % finish
        )
        return self._event(
            index,
            end if finished else self.middle,
            self.ask.continuous_usage or self.usage_with_choices,
        )

    def _event(self, index: int, end: bytes, usage: bool) -> bytes:
        delta = self._delta(index)
        tail = b"," + self.usage(self.plan.tokens_after(index)) if usage else b""
        return b"".join(start + delta + end + tail + b"}\n\n" for start in self.starts)

    def _delta(self, index: int) -> bytes:
        piece = self.plan.pieces[index]
        if index < self.reasoning:
            return b'"%b":"%b"' % (self.ask.reasoning_field.encode(), piece)
        if not self.plan.tool:
            return b'"content":"%b"' % piece
        if index == self.reasoning:
            return (
                b'"tool_calls":[{"id":"call_%b","type":"function","index":0,"function":{"name":"%b","arguments":"%b"}}]'
                % (
                    escaped(self.ident),
                    TOOL.encode(),
                    piece,
                )
            )
        return b'"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]' % piece

    def closing(self) -> Frames:
        if not self.ask.include_usage or self.usage_with_choices:
            return ()
        return (b"data: %b],%b}\n\n" % (self.head, self.usage(self.plan.tokens)),)

    def whole(self) -> bytes:
        plan = self.plan
        answer = self.string(plan.text(plan.reasoning))
        thought = self.string(plan.text(0, plan.reasoning)) if plan.reasoning else None
        call = {
            "id": f"call_{self.ident}",
            "type": "function",
            "function": {"name": TOOL, "arguments": answer},
        }
        message = {
            "role": "assistant",
            "content": None if plan.tool else answer,
            "refusal": None,
            "tool_calls": [call] if plan.tool else [],
            self.ask.reasoning_field: thought,
        }
        choices = [
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": plan.finish,
                "stop_reason": None,
            }
            for index in range(self.ask.choices)
        ]
        head = (
            self.head.replace(b'"chat.completion.chunk"', b'"chat.completion"', 1)
            + orjson.dumps(choices)[1:]
        )
        return head + (b"," + self.usage(plan.tokens) if self.ask.include_usage else b"") + b"}"
