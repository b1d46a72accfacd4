"""Requests to a server that are not measured: models, readiness, metrics."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import disable_warnings
from urllib3.exceptions import InsecureRequestWarning

from llmbench_locust.routes import client_context, proxy_of


class ServerSession(requests.Session):
    """Takes the way of the measured requests, not the library's: a password in ~/.netrc would
    replace our Authorization header, and REQUESTS_CA_BUNDLE would overrule ``insecure``.

    ``url``: of the server. ``insecure``: do not verify its certificate.
    """

    def __init__(self, url: str, *, insecure: bool = False) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = not insecure
        server = urlsplit(url)
        if (proxy := proxy_of(server)) is not None:
            self.proxies = {server.scheme: proxy.geturl()}
        if insecure:
            disable_warnings(InsecureRequestWarning)
        elif server.scheme == "https":
            self.mount("https://", _Trusting())


class _Trusting(HTTPAdapter):
    """Trusts the certificates that `client_context` trusts."""

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: object
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block, ssl_context=client_context(False), **kwargs
        )

    def proxy_manager_for(self, proxy: str, **kwargs: object) -> object:
        return super().proxy_manager_for(proxy, ssl_context=client_context(False), **kwargs)

    def cert_verify(self, *args: object, **kwargs: object) -> None:
        """Does not add the library's own certificates."""
