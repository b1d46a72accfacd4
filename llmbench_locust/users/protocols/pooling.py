"""Embeddings, infinity, vLLM's pooling and rerank: one body as response, no token events."""

from __future__ import annotations

import re

import orjson

from llmbench_locust.backends import BACKENDS
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.records import RequestRecord
from llmbench_locust.transport.exchange import Exchange
from llmbench_locust.users.protocols.base import Protocol
from llmbench_locust.users.protocols.content import (
    chat_messages,
    media_within,
    own_messages,
    text_of,
)
from llmbench_locust.users.protocols.sinks import BodySink, BytesSink, TextSink
from llmbench_locust.workload.sample import SampleRequest

# Many models have a short context: truncate the text rather than fail, as vLLM's client does.
_TRUNCATE = {"truncate_prompt_tokens": -1}


class PoolingProtocol(Protocol):
    """Common: a plain body with ``usage``, no output."""

    sink_class = BodySink

    def sink(self, sample: SampleRequest) -> TextSink:
        fields = self.wire.extra_body | (sample.body_overrides or {})
        as_bytes = fields.get("encoding_format") in ("bytes", "bytes_only")
        return BytesSink() if as_bytes else BodySink()

    def record(
        self, index: int, sample: SampleRequest, exchange: Exchange, sink: TextSink
    ) -> RequestRecord:
        if isinstance(sink, BytesSink):
            sink.usage(_usage_of_header(exchange.headers.get("metadata")))
        record = super().record(index, sample, exchange, sink)
        record.output_len = 0
        record.num_sequences = self.sequences(sample)
        return record

    def sequences(self, sample: SampleRequest) -> int:
        prompt = sample.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            return len(prompt)
        return 1


def _usage_of_header(metadata: str | None) -> JsonValue:
    """vLLM's usage in a header, for a body of bytes."""
    try:
        found = orjson.loads(metadata or "")
    except orjson.JSONDecodeError:
        return None
    return found.get("usage") if isinstance(found, dict) else None


class Embeddings(PoolingProtocol):
    info = BACKENDS["openai-embeddings"]

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {"model": model, "input": sample.prompt, **_TRUNCATE}


class Pooling(Embeddings):
    info = BACKENDS["vllm-pooling"]


class ChatEmbeddings(PoolingProtocol):
    info = BACKENDS["openai-embeddings-chat"]

    def body(self, sample: SampleRequest, model: str) -> Json:
        return {"model": model, "messages": self.messages(sample), **_TRUNCATE}

    def messages(self, sample: SampleRequest) -> list[Json]:
        return chat_messages(sample)

    def sequences(self, sample: SampleRequest) -> int:
        return 1


class ClipEmbeddings(ChatEmbeddings):
    """CLIP embeds a text or an image, not both."""

    info = BACKENDS["openai-embeddings-clip"]

    def messages(self, sample: SampleRequest) -> list[Json]:
        return chat_messages(sample, "" if sample.multi_modal else None)


class VLM2VecEmbeddings(ChatEmbeddings):
    """Image first, then one of two instructions, by the parity of the request's number."""

    info = BACKENDS["openai-embeddings-vlm2vec"]

    def messages(self, sample: SampleRequest) -> list[Json]:
        text = None
        if sample.multi_modal:
            number = re.search(r"\d+$", sample.request_id)
            text = "Represent the given image."
            if number and int(number.group()) % 2:
                text = f"Represent the given image with the following question: {text_of(sample)}"
        return chat_messages(sample, text, media_first=True)


class InfinityEmbeddings(PoolingProtocol):
    """infinity embeds a text or an image; an image's URL replaces the text."""

    info = BACKENDS["infinity-embeddings"]

    def body(self, sample: SampleRequest, model: str) -> Json:
        media = media_within(sample)
        if not media:
            messages = own_messages(sample) is not None
            return {"model": model, "input": text_of(sample) if messages else sample.prompt}
        kinds = {str(part["type"]) for part in media}
        if len(kinds) > 1:
            what = f"takes one kind of content in a request, not {', '.join(kinds)}"
            raise ConfigError(f"--backend: {self.info.name} {what}")
        kind = kinds.pop()
        urls = [part[kind]["url"] for part in media]
        found = urls[0] if len(urls) == 1 else urls
        return {"model": model, "input": found, "modality": kind.partition("_")[0]}

    def sequences(self, sample: SampleRequest) -> int:
        return len(media_within(sample)) or super().sequences(sample)


class InfinityClipEmbeddings(InfinityEmbeddings):
    info = BACKENDS["infinity-embeddings-clip"]


class Rerank(PoolingProtocol):
    """The first text is the query, the others are the documents."""

    info = BACKENDS["vllm-rerank"]

    def body(self, sample: SampleRequest, model: str) -> Json:
        prompt = sample.prompt
        if not isinstance(prompt, list) or len(prompt) < 2:
            what = "needs a query and documents; --dataset-name random-rerank makes them"
            raise ConfigError(f"--backend: vllm-rerank {what}")
        return {"model": model, "query": prompt[0], "documents": prompt[1:], **_TRUNCATE}

    def sequences(self, sample: SampleRequest) -> int:
        return max(1, len(sample.prompt) - 1)
