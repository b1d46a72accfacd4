"""Decides which metrics pages a run reads, and with which secrets."""

from __future__ import annotations

from collections.abc import Callable

from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.secrets import origin_of
from llmbench_locust.redact import without_user
from llmbench_locust.run.wiring import api_key_for
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.scraper import NOTHING_KNOWN
from llmbench_locust.server_metrics.watch import ServerWatch

Readings = dict[str, list[Reading]]

#: The arrivals wait at most this long for the first reading.
FIRST_READING_S = 2.0
#: Seconds between two GPU readings: the error of the energy is at most this much at either end.
GPU_PERIOD_S = 0.25


def watch_of(config: RunConfig) -> ServerWatch | None:
    """Start to read the metrics pages of ``config``; None if there are none.

    Headers and API key go only to the origin of the benchmark's own server.
    """
    urls = (*_server_pages(config), *config.gpu_metrics)
    if not urls:
        return None
    key, own = api_key_for(config), {origin_of(url) for url in config.base_urls}
    headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **config.header}
    return ServerWatch(
        {url: headers if origin_of(url) in own else {} for url in urls},
        insecure=config.insecure,
        periods_s=dict.fromkeys(config.gpu_metrics, GPU_PERIOD_S),
    )


def _server_pages(config: RunConfig) -> tuple[str, ...]:
    if config.server_metrics == ("off",):
        return ()
    return config.server_metrics or tuple(f"{url}/metrics" for url in config.base_urls)


def say_unread(watch: ServerWatch, config: RunConfig, say: Callable[[str], None]) -> None:
    """Wait for the first reading; one line for each page that cannot be read.

    Without --server-metrics, a server without such a page is not reported.
    """
    watch.wait_for_first(FIRST_READING_S)
    for url, found in watch.readings.items():
        reason = watch.errors.get(url, "no answer yet")
        asked = bool(config.server_metrics) or url in config.gpu_metrics
        if not found and (asked or reason not in ("status 404", "status 405", NOTHING_KNOWN)):
            what = "GPU metrics" if url in config.gpu_metrics else "Server metrics"
            say(f"{what}: {shown(url)} cannot be read: {reason}")


def split(pages: Readings, config: RunConfig) -> tuple[Readings, Readings]:
    """Readings of servers and of GPUs, by the URL without secrets. A page can be both: Triton's has
    its GPUs, too.
    """
    found = {url: of for url, of in pages.items() if of}
    server = {shown(url): of for url, of in found.items() if url in _server_pages(config)}
    gpus = {shown(url): of for url, of in found.items() if url in config.gpu_metrics}
    if config.gpu_metrics:
        return server, gpus
    return server, {url: of for url, of in server.items() if "gpu_power" in of[0].values}


def shown(url: str) -> str:
    """The URL without possible secrets: user, password and query."""
    return without_user(url).partition("?")[0]
