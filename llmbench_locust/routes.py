"""How to reach a server: through which proxy, and whose certificates are trusted. Requests that are
measured and those that are not take the same way.
"""

from __future__ import annotations

import contextlib
import ssl
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from llmbench_locust.errors import ConfigError
from llmbench_locust.redact import without_user


def proxy_of(server: SplitResult) -> SplitResult | None:
    """The environment's proxy for a server (http_proxy, https_proxy, all_proxy, no_proxy). None for
    this machine's loopback addresses, which no proxy can reach. Raises ConfigError for a proxy that
    does not speak HTTP.
    """
    proxies: dict[str, str] = getproxies_environment()
    url = proxies.get(server.scheme) or proxies.get("all")
    host = server.hostname or ""
    if not url or _is_loopback(host) or _is_excluded(host, server.port, proxies):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # the port
        pass
    raise ConfigError(
        f"{server.scheme}_proxy: {without_user(url)} cannot be used; allowed is http://host:port"
    )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _is_excluded(host: str, port: int | None, proxies: dict[str, str]) -> bool:
    """By a name or address, with or without its port, or by a network such as 10.0.0.0/8."""
    if proxy_bypass_environment(f"{host}:{port}" if port else host, proxies):
        return True
    for entry in proxies.get("no", "").split(","):
        with contextlib.suppress(ValueError):
            if ip_address(host) in ip_network(entry.strip(), strict=False):
                return True
    return False


def client_context(insecure: bool) -> ssl.SSLContext:
    """Trusts the system's CAs (or SSL_CERT_FILE, SSL_CERT_DIR), or verifies nothing."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
