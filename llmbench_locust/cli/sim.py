"""`llmbench sim`: an LLM server without a model."""

from __future__ import annotations

from llmbench_locust.simulator.settings import parse


def main(argv: list[str]) -> int:
    settings = parse(argv)
    from llmbench_locust.simulator.server.http_server import serve  # late: slow

    return serve(settings)
