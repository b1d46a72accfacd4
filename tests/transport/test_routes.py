"""TLS, verified and not, and proxies: what stands between the client and the server."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from llmbench_locust.errors import ConfigError
from llmbench_locust.server_session import ServerSession
from llmbench_locust.transport.endpoint import parse_endpoint
from llmbench_locust.transport.exchange import Limit
from tests.waiting import MOST_S

from .conftest import DONE, HEAD, LAST, POST, Peer, TextSink, answer, chunk, sse
from .test_client import always


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-made certificate for 127.0.0.1 and llm.example, and its key, in one PEM file."""
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {pem} -days 2 "
        "-subj /CN=localhost"
    )
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1,DNS:llm.example"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    return both


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("kernel", [False, True])
def test_tls_with_a_trusted_certificate(serve, connect, context, certificate, monkeypatch, kernel):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    texts = [f"t{i}" for i in range(200)]
    server = serve(always(answer(*texts)), context=context)
    transport = connect(server.url, kernel_timestamps=kernel)
    for _ in range(2):
        sink = TextSink()
        exchange = transport.exchange(POST, sink)
        assert exchange.error == ""
        assert sink.texts == texts
    assert server.connections == 1
    assert transport.prewarm(3) == 3


def test_tls_streams_in_many_records(serve, connect, context):
    texts = [f"t{i}" * 20 for i in range(300)]

    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD)
        for text in texts:
            peer.send(chunk(sse({"text": text})))
        peer.send(chunk(sse({"text": "x" * 100_000})) + chunk(DONE) + LAST)

    sink = TextSink()
    exchange = connect(serve(handler, context=context).url, insecure=True).exchange(POST, sink)
    assert exchange.error == ""
    assert sink.texts == [*texts, "x" * 100_000]


def test_tls_without_trust_is_refused_with_the_reason(serve, connect, context):
    exchange = connect(serve(always(answer("a")), context=context).url).exchange(POST, TextSink())
    assert exchange.error_kind == "tls"
    assert "certificate" in exchange.error
    assert "self" in exchange.error


def test_insecure_takes_any_certificate(serve, connect, context):
    exchange = connect(serve(always(answer("a")), context=context).url, insecure=True).exchange(
        POST, TextSink()
    )
    assert exchange.error == ""


def test_https_to_a_plain_server_is_a_tls_error(serve, connect):
    server = serve(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    exchange = connect(server.url.replace("http:", "https:"), insecure=True).exchange(
        POST, TextSink()
    )
    assert exchange.error_kind == "tls"


def test_a_silent_tls_server_times_out(serve, connect):
    server = serve(lambda peer: threading.Event().wait(MOST_S))
    exchange = connect(server.url.replace("http:", "https:")).exchange(
        POST, TextSink(), limit=Limit(0.2)
    )
    assert exchange.error_kind == "timeout"


def test_a_large_request_over_tls(serve, connect, context):
    sizes = []

    def handler(peer: Peer) -> None:
        while (seen := peer.request()) is not None:
            sizes.append(len(seen.body))
            peer.send(answer("a"))

    request = type(POST)("/x", {}, b"x" * (3 << 20))
    exchange = connect(serve(handler, context=context).url, insecure=True).exchange(
        request, TextSink()
    )
    assert exchange.error == ""
    assert sizes == [3 << 20]


def test_a_plain_proxy_gets_the_whole_url(serve, connect, monkeypatch):
    seen: list[Any] = []

    def handler(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            seen.append(request)
            peer.send(answer("a"))

    proxy = serve(handler)
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    transport = connect("http://llm.example:8000")
    assert transport.exchange(POST, TextSink()).error == ""
    assert seen[0].line == "POST http://llm.example:8000/v1/completions HTTP/1.1"
    assert seen[0].headers["host"] == "llm.example:8000"
    assert seen[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="  # me:p@ss


def test_the_user_of_the_url_is_who_asks(serve, connect):
    """As for control requests, whatever the headers say."""
    seen: list[Any] = []

    def handler(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            seen.append(request)
            peer.send(answer("a"))

    transport = connect(serve(handler).url.replace("://", "://me:p%40ss@"))
    key = replace(POST, headers={**POST.headers, "authorization": "Bearer k"})
    for request in (POST, key):
        assert transport.exchange(request, TextSink()).error == ""
        assert seen[-1].headers["authorization"] == "Basic bWU6cEBzcw=="  # me:p@ss


def tunnel(requests: list[Any], code: bytes = b"200 Connection established") -> Any:
    """A CONNECT proxy, for which every name is this machine's."""

    def handler(peer: Peer) -> None:
        request = peer.request()
        assert request is not None
        requests.append(request)
        if not code.startswith(b"200"):
            peer.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % code)
            return
        port = request.line.split()[1].rpartition(":")[2]
        with socket.create_connection(("127.0.0.1", int(port))) as upstream:
            peer.send(b"HTTP/1.1 %b\r\n\r\n" % code)
            threading.Thread(target=pump, args=(upstream, peer.sock), daemon=True).start()
            pump(peer.sock, upstream)

    return handler


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


def test_https_goes_through_a_tunnel(serve, connect, context, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    requests: list[Any] = []
    proxy = serve(tunnel(requests))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    server = serve(always(answer("a", "b")), context=context)
    url = f"https://llm.example:{server.port}"
    transport = connect(url)
    sink = TextSink()
    assert transport.exchange(POST, sink).error == ""
    assert sink.texts == ["a", "b"]
    assert ServerSession(url).get(url).status_code == 200
    asked = f"CONNECT llm.example:{server.port} HTTP/1."
    assert [r.line[:-1] for r in requests] == [asked, asked]


def test_a_proxy_that_refuses_is_a_connect_error(serve, connect, monkeypatch):
    proxy = serve(tunnel([], b"407 Proxy Authentication Required"))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    exchange = connect("https://llm.example").exchange(POST, TextSink())
    assert exchange.error_kind == "connect"
    assert "407" in exchange.error


@pytest.mark.parametrize(
    ("host", "no_proxy", "proxied"),
    [
        ("llm.example", "", True),
        ("llm.example", "other.example,llm.example", False),
        ("llm.example", ".example", False),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("[fd00::1]", "fd00::/8", False),
        ("127.0.0.1", "", False),
        ("localhost", "", False),
        ("[::1]", "", False),
    ],
)
def test_what_goes_through_a_proxy(monkeypatch, host, no_proxy, proxied):
    """Measured and other requests alike; no proxy reaches this machine's loopback."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    url = f"http://{host}:8000"
    assert parse_endpoint(url).proxied == proxied
    assert bool(ServerSession(url).proxies) == proxied


def test_other_requests_trust_what_the_measured_ones_trust(
    serve, context, certificate, monkeypatch
):
    url = serve(always(answer("a")), context=context).url
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ServerSession(url).get(url).status_code == 200
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(requests.exceptions.SSLError):
        ServerSession(url).get(url)


def test_insecure_counts_whatever_the_environment_trusts(serve, context, monkeypatch, recwarn):
    url = serve(always(answer("a")), context=context).url
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, ssl.get_default_verify_paths().openssl_cafile)
    assert ServerSession(url, insecure=True).get(url).status_code == 200
    assert [str(w.message) for w in recwarn] == []


def test_no_password_of_netrc_replaces_the_key(serve, monkeypatch, tmp_path):
    seen: list[Any] = []

    def handler(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            seen.append(request)
            peer.send(answer("a"))

    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    url = serve(handler).url
    ServerSession(url).get(url, headers={"Authorization": "Bearer key"})
    assert seen[0].headers["authorization"] == "Bearer key"


@pytest.mark.parametrize(
    ("url", "tls", "host", "port", "header", "prefix"),
    [
        ("http://a", False, "a", 80, "a", ""),
        ("https://a/", True, "a", 443, "a", ""),
        ("http://a:8000/v2/", False, "a", 8000, "a:8000", "/v2"),
        ("http://[::1]:8000", False, "::1", 8000, "[::1]:8000", ""),
        ("https://[fe80::1]", True, "fe80::1", 443, "[fe80::1]", ""),
    ],
)
def test_endpoints(url, tls, host, port, header, prefix):
    e = parse_endpoint(url)
    assert (e.tls, e.host, e.port, e.host_header, e.prefix, e.dial_host, e.dial_port) == (
        tls, host, port, header, prefix, host, port,
    )  # fmt: skip


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://a", "http://", "http://a:99999", "unix:///x"]
)
def test_what_is_no_base_url_is_a_config_error(url):
    with pytest.raises(ConfigError, match="--base-url"):
        parse_endpoint(url)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "http://proxy:port"])
def test_a_proxy_of_another_kind_is_a_config_error(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="http_proxy"):
        parse_endpoint("http://a")


def test_tls_close_in_the_middle_is_cut(serve, connect, context):
    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(HEAD + chunk(sse({"text": "a"})))
        peer.sock.unwrap()

    exchange = connect(serve(handler, context=context).url, insecure=True).exchange(
        POST, TextSink(), limit=Limit(5)
    )
    assert exchange.error_kind == "cut"
    assert len(exchange.token_times) == 1
