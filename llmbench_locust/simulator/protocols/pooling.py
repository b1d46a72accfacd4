"""Embeddings, pooling and rerank: one body without tokens. The vectors have no meaning."""

from __future__ import annotations

import base64
import math
import struct
from functools import cache

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Ask, Refusal, message_turns
from llmbench_locust.simulator.counting import Counter
from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.protocols.completions import prompt_tokens


@cache
def vector(dimensions: int, as_base64: bool) -> bytes:
    """JSON of a unit vector, as numbers or as base64 of float32."""
    values = [math.cos(index) for index in range(1, dimensions + 1)]
    norm = math.hypot(*values)
    if as_base64:
        return b'"%b"' % base64.b64encode(
            struct.pack(f"<{dimensions}f", *(value / norm for value in values))
        )
    return orjson.dumps([round(value / norm, 8) for value in values])


def _items(given: object) -> int:
    return len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1


class Embeddings(Script):
    """/v1/embeddings: `input` (text, token ids or a list of either) or chat `messages`."""

    generates = False
    prefix = "embd"
    kind, field = "embedding", "embedding"

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        if "messages" in body:
            prompt, turns = message_turns(body["messages"])
            tokens, items = sum(count(text) for _, text in turns), 1
        elif "input" in body:
            prompt = body["input"]
            tokens, items = prompt_tokens(prompt, count), _items(prompt)
        else:
            raise Refusal(400, "input or messages must be given.", param="input")
        return Ask(
            prompt=prompt,
            prompt_tokens=max(1, tokens),
            items=items,
            base64=body.get("encoding_format") == "base64",
            dimensions=body["dimensions"] if isinstance(body.get("dimensions"), int) else 0,
        )

    def whole(self) -> bytes:
        ask = self.ask
        values = vector(ask.dimensions, ask.base64)
        data = b",".join(
            b'{"index":%d,"object":"%b","%b":%b}'
            % (index, self.kind.encode(), self.field.encode(), values)
            for index in range(ask.items)
        )
        return b'{"id":%b,"object":"list","created":%d,"model":%b,"data":[%b],%b}' % (
            orjson.dumps(f"{self.prefix}-{self.ident}"),
            self.created,
            orjson.dumps(ask.model),
            data,
            self.usage(0) if ask.include_usage else b'"usage":null',
        )


class Pooling(Embeddings):
    prefix = "pool"
    kind, field = "pooling", "data"


class _ByLength(Counter):
    def __call__(self, text: str) -> int:
        return max(1, len(text) // 768)


class Infinity(Embeddings):
    """Like OpenAI's, but `input` may be the URL of an image: one token per 768 bytes of it."""

    prefix = "infinity"

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        if body.get("modality", "text") == "text":
            return super().ask_of(body, count)
        return super().ask_of(body, _ByLength())


class Rerank(Script):
    generates = False

    @classmethod
    def ask_of(cls, body: Json, count: Counter) -> Ask:
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, (str, list)) or not isinstance(documents, list) or not documents:
            raise Refusal(400, "query and documents must be given.", param="documents")
        return Ask(
            prompt=[query, *documents],
            prompt_tokens=len(documents) * prompt_tokens(query, count)
            + prompt_tokens(documents, count),
            items=len(documents),
        )

    def whole(self) -> bytes:
        tokens = self.ask.prompt_tokens
        documents = self.ask.prompt[1:]
        results = [
            {
                "index": index,
                "document": {"text": document},
                "relevance_score": round(1 / (1 + index), 6),
            }
            for index, document in enumerate(documents)
        ]
        usage = (
            {"prompt_tokens": tokens, "total_tokens": tokens} if self.ask.include_usage else None
        )
        return orjson.dumps(
            {
                "id": f"rerank-{self.ident}",
                "model": self.ask.model,
                "usage": usage,
                "results": results,
            }
        )
