"""Which metrics pages a run reads, and with which secrets."""

from __future__ import annotations

from collections.abc import Callable

from llmbench_locust.options.config import RunConfig
from llmbench_locust.options.secrets import origin_of
from llmbench_locust.redact import without_user
from llmbench_locust.run.wiring import api_key_for
from llmbench_locust.server_metrics.reading import Reading
from llmbench_locust.server_metrics.scraper import NOTHING_KNOWN
from llmbench_locust.server_metrics.watch import ServerWatch

#: The start of the arrivals waits this long for the first reading.
FIRST_READING_S = 2.0


def watch_of(config: RunConfig) -> ServerWatch | None:
    """Begin to read the metrics pages of ``config``; None with ``--server-metrics off``.

    Headers and API key go only to the origin of the benchmark's own server.
    """
    if config.server_metrics == ("off",):
        return None
    urls = config.server_metrics or (f"{config.base_url}/metrics",)
    key, own = api_key_for(config), origin_of(config.base_url)
    headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **config.header}
    return ServerWatch(
        {url: headers if origin_of(url) == own else {} for url in urls}, insecure=config.insecure
    )


def say_unread(watch: ServerWatch, config: RunConfig, say: Callable[[str], None]) -> None:
    """Wait for the first reading; one line for each page that cannot be read.

    A server of which nobody asked for metrics may have none: nothing is said of that.
    """
    watch.wait_for_first(FIRST_READING_S)
    for url, found in watch.readings.items():
        reason = watch.errors.get(url, "no answer yet")
        asked = bool(config.server_metrics)
        if not found and (asked or reason not in ("status 404", "status 405", NOTHING_KNOWN)):
            say(f"Server metrics: {shown(url)} cannot be read: {reason}")


def readings_between(watch: ServerWatch, start_s: float, end_s: float) -> dict[str, list[Reading]]:
    """The readings of a run by the URL that may be shown."""
    return {shown(url): found for url, found in watch.window(start_s, end_s).items()}


def shown(url: str) -> str:
    """The URL without what may be secret: user, password and query."""
    return without_user(url).partition("?")[0]
