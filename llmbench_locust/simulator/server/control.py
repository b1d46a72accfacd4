"""The endpoints around generation: models, health, tokenizing, the profiler, statistics."""

from __future__ import annotations

import time
from typing import Any

import orjson
from flask import Flask, Response, request

from llmbench_locust.json_types import Json
from llmbench_locust.simulator.ask import Refusal, message_turns
from llmbench_locust.simulator.engine.wheel import Wheel
from llmbench_locust.simulator.settings import Settings
from llmbench_locust.simulator.stats import Stats


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status=status, content_type="application/json")


def _body() -> Json:
    try:
        body = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return body


def make_control(settings: Settings, stats: Stats, wheel: Wheel, tokenizer: Any | None) -> Flask:
    app = Flask("llmbench_locust.simulator", static_folder=None)

    @app.errorhandler(Refusal)
    def refused(error: Refusal) -> Response:
        return _json(error.body(), error.status)

    @app.errorhandler(404)
    def not_found(_: Exception) -> Response:
        return _json({"detail": "Not Found"}, 404)

    @app.errorhandler(405)
    def not_allowed(_: Exception) -> Response:
        return _json({"detail": "Method Not Allowed"}, 405)

    @app.get("/health")
    @app.get("/ping")
    def health() -> Response:
        return Response(b"", status=200)

    @app.get("/version")
    def version() -> Response:
        return _json({"version": "llmbench-sim"})

    @app.get("/v1/models")
    def models() -> Response:
        return _json({"object": "list", "data": [_model(settings)]})

    @app.post("/start_profile")
    def start_profile() -> Response:
        stats.profiles.append("start")
        return Response(b"", status=200)

    @app.post("/stop_profile")
    def stop_profile() -> Response:
        stats.profiles.append("stop")
        return Response(b"", status=200)

    @app.get("/sim/stats")
    def statistics() -> Response:
        return _json(
            {**stats.snapshot(request.args.get("requests", "1") != "0"), "late": wheel.lateness()}
        )

    @app.post("/sim/reset")
    def reset() -> Response:
        stats.reset()
        wheel.reset()
        return _json({})

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


def _tokenizing(app: Flask, settings: Settings, tokenizer: Any | None) -> None:
    """/tokenize and /detokenize, by the shipped tokenizer; without one a token is a byte."""

    def encode(text: str) -> list[int]:
        if tokenizer is None:
            return list(text.encode())
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(ids: list[int]) -> str:
        if tokenizer is None:
            return bytes(ids).decode(errors="replace")
        text: str = tokenizer.decode(ids, skip_special_tokens=False)
        return text

    @app.post("/tokenize")
    def tokenize() -> Response:
        body = _body()
        text = body.get("prompt")
        if text is None and isinstance(body.get("messages"), list):
            text = "\n".join(turn for _, turn in message_turns(body["messages"])[1])
        if not isinstance(text, str):
            raise Refusal(400, "prompt must be a text.", param="prompt")
        tokens = encode(text)
        return _json(
            {
                "count": len(tokens),
                "max_model_len": settings.max_model_len,
                "tokens": tokens,
                "token_strs": None,
            }
        )

    @app.post("/detokenize")
    def detokenize() -> Response:
        tokens = _body().get("tokens")
        if not isinstance(tokens, list) or not all(
            isinstance(token, int) and 0 <= token < 2**31 for token in tokens
        ):
            raise Refusal(400, "tokens must be a list of token ids.", param="tokens")
        try:
            return _json({"prompt": decode(tokens)})
        except (ValueError, OverflowError) as error:
            raise Refusal(400, f"tokens: {error}", param="tokens") from None
