"""The endpoints around generation: models, health, tokenizing, the profiler, statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from flask import Flask, Response, request

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Refusal, json_body, message_turns
from llmbench_locust.simulator.engine.wheel import Wheel
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import Stats

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status=status, content_type="application/json")


def make_control(
    settings: Settings, stats: Stats, wheel: Wheel, tokenizer: Tokenizer | None
) -> Flask:
    app = Flask("llmbench_locust.simulator", static_folder=None)
    app.register_error_handler(Refusal, lambda error: _json(error.body(), error.status))
    app.register_error_handler(404, lambda _: _json({"detail": "Not Found"}, 404))
    app.register_error_handler(405, lambda _: _json({"detail": "Method Not Allowed"}, 405))

    def profile(what: str) -> Response:
        stats.profiles.append(what)
        return Response(b"")

    def statistics() -> Response:
        found = stats.snapshot(request.args.get("requests", "1") != "0")
        return _json({**found, "late": wheel.lateness()})

    def reset() -> Response:
        stats.reset()
        wheel.reset()
        return _json({})

    routes: dict[str, dict[str, Callable[[], Response]]] = {
        "GET": {
            "/health": lambda: Response(b""),
            "/ping": lambda: Response(b""),
            "/version": lambda: _json({"version": "llmbench-sim"}),
            "/v1/models": lambda: _json({"object": "list", "data": [_model(settings)]}),
            "/sim/stats": statistics,
        },
        "POST": {
            "/start_profile": lambda: profile("start"),
            "/stop_profile": lambda: profile("stop"),
            "/sim/reset": reset,
        },
    }
    for method, views in routes.items():
        for path, view in views.items():
            app.add_url_rule(path, path, view, methods=[method])
    _tokenizing(app, settings, tokenizer)
    return app


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


def _tokenizing(app: Flask, settings: Settings, tokenizer: Tokenizer | None) -> None:
    """/tokenize and /detokenize, by the shipped tokenizer; without one a token is a byte."""

    def encode(text: str) -> list[int]:
        if tokenizer is None:
            return list(text.encode())
        return tokenizer.encode(text, add_special_tokens=False).ids

    def decode(ids: list[int]) -> str:
        if tokenizer is None:
            return bytes(ids).decode(errors="replace")
        return tokenizer.decode(ids, skip_special_tokens=False)

    @app.post("/tokenize")
    def tokenize() -> Response:
        body = json_body(request.get_data())
        text = body.get("prompt")
        if text is None and isinstance(body.get("messages"), list):
            text = "\n".join(turn for _, turn in message_turns(body["messages"])[1])
        if not isinstance(text, str):
            raise Refusal(400, "prompt must be a text.", param="prompt")
        tokens = encode(text)
        found = {"count": len(tokens), "max_model_len": settings.max_model_len}
        return _json({**found, "tokens": tokens, "token_strs": None})

    @app.post("/detokenize")
    def detokenize() -> Response:
        tokens = json_body(request.get_data()).get("tokens")
        if not isinstance(tokens, list) or not all(
            isinstance(token, int) and 0 <= token < 2**31 for token in tokens
        ):
            raise Refusal(400, "tokens must be a list of token ids.", param="tokens")
        try:
            return _json({"prompt": decode(tokens)})
        except (ValueError, OverflowError) as error:
            raise Refusal(400, f"tokens: {error}", param="tokens") from None
