"""Where to connect: base URL, proxy from the environment, addresses."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from llmbench_locust.errors import ConfigError
from llmbench_locust.redact import without_user
from llmbench_locust.routes import proxy_of


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host``, ``port``: the server. ``host_header``: value of the Host header. ``prefix``:
    prepended to each target: the base URL's path, or the whole URL for a plain proxy.
    ``dial_host``, ``dial_port``: what to connect to. ``tunnel``: whether to send CONNECT first.
    ``proxy_auth``: value of Proxy-Authorization, "" for none. ``auth``: value of Authorization for
    the user in the base URL.
    """

    tls: bool
    host: str
    port: int
    host_header: str
    prefix: str
    dial_host: str
    dial_port: int
    proxied: bool
    proxy_auth: str
    auth: str

    @property
    def tunnel(self) -> bool:
        return self.proxied and self.tls

    @property
    def name(self) -> str:
        """What to connect to, for messages."""
        host = f"[{self.dial_host}]" if ":" in self.dial_host else self.dial_host
        return f"{'proxy ' if self.proxied else ''}{host}:{self.dial_port}"


def parse_endpoint(base_url: str) -> Endpoint:
    """Raises ConfigError for a URL that is not http or https, or a proxy of another kind."""
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--base-url: {without_user(base_url)!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"--base-url: {without_user(base_url)!r} is not a URL such as http://host:port or "
            "https://host:port"
        )
    tls = parts.scheme == "https"
    host = parts.hostname
    bracketed = f"[{host}]" if ":" in host else host
    default = 443 if tls else 80
    port = port or default
    host_header = bracketed if port == default else f"{bracketed}:{port}"
    path = parts.path.rstrip("/")
    proxy = proxy_of(parts)
    if proxy is None:
        return Endpoint(tls, host, port, host_header, path, host, port, False, "", _basic(parts))
    prefix = path if tls else f"http://{host_header}{path}"
    dial = (proxy.hostname or "", proxy.port or 80)
    return Endpoint(tls, host, port, host_header, prefix, *dial, True, _basic(proxy), _basic(parts))


def _basic(parts: SplitResult) -> str:
    """The credentials of a URL as a header value; "" if there are none."""
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
