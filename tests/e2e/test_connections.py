"""The client does not change what it measures: servers that count or hold connections."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from statistics import median

from tests.commands import SMALL, locust, result

TTFT_S = 0.025


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 5  # a thread holds its connection for so long after the last request
    first_byte_s: list[float] = []

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        began = time.perf_counter()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        time.sleep(TTFT_S)
        choice = {"index": 0, "text": "hi", "finish_reason": "length"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        for event in (
            json.dumps({"choices": [choice]}),
            json.dumps({"choices": [], "usage": usage}),
        ):
            self._chunk(f"data: {event}\n\n")
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        self.first_byte_s.append(time.perf_counter() - began)

    def _chunk(self, text):
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def log_message(self, *_):
        pass


class FewThreads(HTTPServer):
    """Sixteen threads, each serving one connection until it closes, as in some servers."""

    request_queue_size = 512

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.waiting = Queue()
        for _ in range(16):
            threading.Thread(target=self._serve, daemon=True).start()

    def process_request(self, request, client_address):
        self.waiting.put((request, client_address))

    def _serve(self):
        while True:
            request, address = self.waiting.get()
            try:
                self.finish_request(request, address)
            except OSError:
                pass
            finally:
                self.shutdown_request(request)


def test_a_server_with_a_thread_for_each_connection_is_not_blocked(tmp_path):
    most = []
    # Usually 5; a ready check that stood still for a second announces long responses.
    while len(most) < 3 and min(most, default=17) > 16:
        out = tmp_path / str(len(most))
        server = FewThreads()
        Handler.first_byte_s.clear()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = locust(
            *("--base-url", url, "--model", "m", *SMALL, "--num-prompts", 100),
            *("--request-rate", 20, "--save-result", "--save-detailed", "--result-dir", out),
        )
        server.shutdown()
        assert done.returncode == 0, done.stderr
        found = result(out)
        assert found["completed"] == 100
        most.append(found["llmbench"]["audit"]["most_connections"])
    assert most[-1] <= 16, most
    logged = sorted(Handler.first_byte_s[-100:])
    ttfts = sorted(found["ttfts"])
    # Opening hundreds of connections ahead made this 18 seconds.
    assert abs(median(ttfts) - median(logged)) < 0.025  # usually below 0.001
    # None waited for a thread that held another connection, which would be five seconds.
    longer = [seen - told for seen, told in zip(ttfts, logged, strict=True)]
    assert sum(by > 1 for by in longer) <= 3, longer


def test_a_server_that_refuses_many_connections_serves_all(tmp_path):
    """As uvicorn does with --limit-concurrency 100: beyond 100 open connections it answers 503."""
    import uvicorn

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        choice = {"index": 0, "text": "hi", "finish_reason": "length"}
        body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, limit_concurrency=100, log_level="error", lifespan="off")
    )
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    done = locust(
        *("--base-url", f"http://127.0.0.1:{port}", "--model", "m", *SMALL),
        *("--num-prompts", 200, "--request-rate", 50, "--save-result", "--result-dir", tmp_path),
    )
    server.should_exit = True
    assert done.returncode == 0, done.stderr
    assert result(tmp_path)["completed"] == 200
