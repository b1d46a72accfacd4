"""The other endpoints: models, health, tokenizer, profiler, statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Refusal, json_body, message_turns
from llmbench_locust.simulator.engine.wheel import Wheel
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import Stats

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Status, body and content type.
Reply = tuple[int, bytes, str]
#: Path → method → function from a WSGI environment to a reply; may raise Refusal.
Views = dict[str, dict[str, Callable[[Json], Reply]]]

EMPTY: Reply = (200, b"", "text/html; charset=utf-8")


def json_reply(value: object, status: int = 200) -> Reply:
    return status, orjson.dumps(value), "application/json"


def control_views(settings: Settings, stats: Stats, wheel: Wheel, tokenizer: Tokenizer) -> Views:
    def profile(what: str) -> Reply:
        stats.profiles.append(what)
        return EMPTY

    def statistics(environ: Json) -> Reply:
        found = stats.snapshot("requests=0" not in environ["QUERY_STRING"].split("&"))
        return json_reply({**found, "late": wheel.lateness()})

    def reset(_: Json) -> Reply:
        stats.reset()
        wheel.reset()
        return json_reply({})

    return {
        "/health": {"GET": lambda _: EMPTY},
        "/ping": {"GET": lambda _: EMPTY},
        "/version": {"GET": lambda _: json_reply({"version": "llmbench-sim"})},
        "/v1/models": {"GET": lambda _: json_reply({"object": "list", "data": [_model(settings)]})},
        "/sim/stats": {"GET": statistics},
        "/sim/reset": {"POST": reset},
        "/start_profile": {"POST": lambda _: profile("start")},
        "/stop_profile": {"POST": lambda _: profile("stop")},
        **_tokenizing(settings, tokenizer),
    }


def _model(settings: Settings) -> Json:
    return {
        "id": settings.model,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "llmbench-sim",
        "root": settings.model,
        "parent": None,
        "max_model_len": settings.max_model_len,
        "permission": [],
    }


def _tokenizing(settings: Settings, tokenizer: Tokenizer) -> Views:
    """/tokenize and /detokenize, with the package's tokenizer."""

    def tokenize(environ: Json) -> Reply:
        body = json_body(environ["wsgi.input"].read())
        text = body.get("prompt")
        if text is None and isinstance(body.get("messages"), list):
            text = "\n".join(turn for _, turn in message_turns(body["messages"])[1])
        if not isinstance(text, str):
            raise Refusal(400, "prompt must be a text.", param="prompt")
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        found = {"count": len(tokens), "max_model_len": settings.max_model_len}
        return json_reply({**found, "tokens": tokens, "token_strs": None})

    def detokenize(environ: Json) -> Reply:
        tokens = json_body(environ["wsgi.input"].read()).get("tokens")
        if not isinstance(tokens, list) or not all(
            isinstance(token, int) and 0 <= token < 2**31 for token in tokens
        ):
            raise Refusal(400, "tokens must be a list of token ids.", param="tokens")
        return json_reply({"prompt": tokenizer.decode(tokens, skip_special_tokens=False)})

    return {"/tokenize": {"POST": tokenize}, "/detokenize": {"POST": detokenize}}
