"""OpenAI's chat completions as vLLM writes them, with reasoning and tool calls on request."""

from __future__ import annotations

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames
from llmbench_locust.simulator.protocols.completions import OpenAIScript, stream_options

TOOL = "get_weather"


class Chat(OpenAIScript):
    """The first chunk has the role and no content."""

    reasons = True
    tools = True
    prefix = "chatcmpl-"
    kinds = ("chat.completion.chunk", "chat.completion")
    choice = b'"index":%d,"delta":{'
    middle = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]'
    ended = b',"stop_reason":null'

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
        super().prepare()
        self.simple = self.simple and not self.plan.tool
        self.start, self.end = self.start + b'"content":"', b'"' + self.end

    def lead(self) -> Frames:
        usage = b"," + self.usage(0) if self.ask.continuous_usage else b""
        role = b'"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
        end = role + b',"prompt_token_ids":null%b}\n\n' % usage
        return tuple(start + end for start in self.starts)

    def content(self, index: int, end: bytes) -> bytes:
        piece = self.plan.pieces[index]
        if index < self.plan.reasoning:
            return b'"%b":"%b"%b' % (self.ask.reasoning_field.encode(), piece, end)
        if not self.plan.tool:
            return b'"content":"%b"%b' % (piece, end)
        if index > self.plan.reasoning:
            return b'"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]%b' % (piece, end)
        call = b'"tool_calls":[{"id":"call_%b","type":"function","index":0,"function":{'
        call += b'"name":"%b","arguments":"%b"}}]%b'
        return call % (escaped(self.ident), TOOL.encode(), piece, end)

    def answer(self) -> Json:
        plan = self.plan
        text = self.string(plan.text(plan.reasoning))
        call = {"id": f"call_{self.ident}", "type": "function"}
        message: Json = {
            "role": "assistant",
            "content": None if plan.tool else text,
            "refusal": None,
            "tool_calls": [],
            self.ask.reasoning_field: None,
        }
        if plan.tool:
            message["tool_calls"] = [call | {"function": {"name": TOOL, "arguments": text}}]
        if plan.reasoning:
            message[self.ask.reasoning_field] = self.string(plan.text(0, plan.reasoning))
        return {"message": message, "logprobs": None}
