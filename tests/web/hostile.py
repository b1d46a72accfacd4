"""An OpenAI-like server with markup wherever a server has a say: the model's id, tokens, finish
reasons, error messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

MARKUP = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    numbers = count()

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._answer(
                200, {"object": "list", "data": [{"id": f"evil/{MARKUP}", "object": "model"}]}
            )
        else:
            self._answer(404, {"error": {"message": MARKUP}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if next(self.numbers) % 3 == 2:
            self._answer(
                400, {"error": {"message": f"refused: {MARKUP}", "type": MARKUP, "code": MARKUP}}
            )
            return
        chunks = [
            {"choices": [{"index": 0, "text": MARKUP, "finish_reason": None}]} for _ in range(5)
        ]
        chunks.append({"choices": [{"index": 0, "text": "", "finish_reason": MARKUP}]})
        chunks.append(
            {
                "choices": [],
                "usage": {"prompt_tokens": 16, "completion_tokens": 5, "total_tokens": 21},
            }
        )
        body = (
            b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks)
            + b"data: [DONE]\n\n"
        )
        self._send(200, "text/event-stream", body)

    def _answer(self, status: int, body: object) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hostile_server() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
