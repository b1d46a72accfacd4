"""OpenAI's Responses API like vLLM's: named, numbered events up to `response.completed`."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.simulator.ask import Ask, Refusal, message_turns, whole
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.engine.text import escaped
from llmbench_locust.simulator.protocols.base import Frames, Script

_UNSET = dict.fromkeys(("instructions", "metadata", "previous_response_id", "reasoning", "user"))


class Responses(Script):
    reasons = True

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        given = body.get("input")
        if isinstance(given, str):
            prompt, turns = given, [("user", given)]
        elif isinstance(given, list):
            prompt, turns = message_turns(given)
        else:
            raise Refusal(400, "input must be a text or a list of messages.", param="input")
        return Ask(
            prompt=prompt,
            prompt_tokens=count.chat(turns),
            max_tokens=whole(body, "max_output_tokens"),
            include_usage=True,
        )

    def prepare(self) -> None:
        self.number = -1
        self.item = f"msg_{self.ident[:16]}"
        self.thought = f"rs_{self.ident[:16]}"
        self.place = 1 if self.plan.reasoning else 0  # the message's output_index
        self.where = {"content_index": 0, "item_id": self.item, "output_index": self.place}
        self.start = b'event: response.output_text.delta\ndata: {"content_index":0,"delta":"'
        self.end = b'","item_id":"%b","logprobs":[],"output_index":%d,"sequence_number":' % (
            escaped(self.item),
            self.place,
        )

    def _named(self, kind: str, **fields: JsonValue) -> bytes:
        self.number += 1
        data = orjson.dumps({**fields, "sequence_number": self.number, "type": kind})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _response(self, status: str, output: list[JsonValue], usage: Json | None) -> Json:
        cut = status == "incomplete"
        return {
            **_UNSET,
            "id": f"resp_{self.ident}",
            "created_at": self.created,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": self.ask.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 0.0,
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0,
            "background": False,
            "max_output_tokens": self.ask.max_tokens,
            "service_tier": "auto",
            "status": status,
            "truncation": "disabled",
            "usage": usage,
        }

    def opening(self) -> Frames:
        response = self._response("in_progress", [], None)
        return (
            self._named("response.created", response=response),
            self._named("response.in_progress", response=response),
        )

    def _message_start(self) -> bytes:
        item = self._item([], "in_progress")
        part = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        added = self._named("response.output_item.added", item=item, output_index=self.place)
        return added + self._named("response.content_part.added", **self.where, part=part)

    def lead(self) -> Frames:
        if not self.plan.reasoning:
            return (self._message_start(),)
        item = self._thought(None, "in_progress")
        return (self._named("response.output_item.added", item=item, output_index=0),)

    def event(self, index: int) -> bytes:
        if index < self.plan.reasoning:
            return self._reasoning("delta", delta=self.string(self.plan.pieces[index]))
        before = self._turn() if index == self.plan.reasoning and index else b""
        self.number += 1
        data = b'%b%b%b%d,"type":"response.output_text.delta"}\n\n' % (
            self.start,
            self.plan.pieces[index],
            self.end,
            self.number,
        )
        return before + data

    def _reasoning(self, kind: str, **fields: str) -> bytes:
        where = {"content_index": 0, "item_id": self.thought, "output_index": 0}
        return self._named(f"response.reasoning_text.{kind}", **where, **fields)

    def _turn(self) -> bytes:
        """The transition from reasoning to the answer."""
        text = self.string(self.plan.text(0, self.plan.reasoning))
        item = self._thought(text, "completed")
        return (
            self._reasoning("done", text=text)
            + self._named("response.output_item.done", item=item, output_index=0)
            + self._message_start()
        )

    def _thought(self, text: str | None, status: str) -> Json:
        content = None if text is None else [{"text": text, "type": "reasoning_text"}]
        found = {"id": self.thought, "summary": [], "type": "reasoning"}
        return found | {"content": content, "status": status}

    def _message(self) -> Json:
        text = self.string(self.plan.text(self.plan.reasoning))
        part: Json = {"annotations": [], "text": text, "type": "output_text", "logprobs": None}
        return self._item([part], "completed")

    def _item(self, content: list[Json], status: str) -> Json:
        found = {"id": self.item, "content": content, "role": "assistant"}
        return found | {"status": status, "type": "message"}

    def closing(self) -> Frames:
        if self.plan.reasoning >= len(self.plan.pieces):
            return ()
        message = self._message()
        part = message["content"][0]
        return (
            self._named("response.output_text.done", **self.where, logprobs=[], text=part["text"]),
            self._named("response.content_part.done", **self.where, part=part),
            self._named("response.output_item.done", item=message, output_index=self.place),
        )

    @property
    def done(self) -> Frames:  # type: ignore[override]
        """vLLM's last event is always `response.completed`, even if the status in it differs."""
        return (self._named("response.completed", response=self._final()),)

    def _final(self) -> Json:
        plan = self.plan
        output: list[JsonValue] = [self._message()]
        if plan.reasoning:
            thought = self.string(plan.text(0, plan.reasoning))
            output.insert(0, self._thought(thought, "completed"))
        usage = {
            "input_tokens": self.ask.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": plan.tokens,
            "output_tokens_details": {
                "reasoning_tokens": plan.reasoning_tokens,
                "tool_output_tokens": 0,
            },
            "total_tokens": self.ask.prompt_tokens + plan.tokens,
        }
        status = "incomplete" if plan.finish == "length" else "completed"
        return self._response(status, output, usage if self.ask.include_usage else None)

    def failure(self, message: str) -> Frames:
        return (self._named("error", code="server_error", message=message, param=None),)

    def whole(self) -> bytes:
        return orjson.dumps(self._final())
