"""Reads the metrics pages beside a run: once here, then by the scraper, a separate process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from llmbench_locust.json_types import Json
from llmbench_locust.server_metrics.figures import ServerFigures, figures_of, summed
from llmbench_locust.server_metrics.nvml import NVML
from llmbench_locust.server_metrics.reading import Histogram, NotMetricsError, Reading
from llmbench_locust.server_metrics.scraper import MAY_COME, Page, first_reading

#: How long a page may take for its first reading.
FIRST_READING_S = 2.0
#: How long the last reading may take at the end of a run.
LAST_READING_S = 6.0


class ServerWatch:
    """Readings of each URL while a run goes on. Costs the sending process one short line a reading.

    ``pages``: the headers to send to each metrics page, by its URL; they reach the scraper by a
    pipe, never by its command line. ``periods_s``: seconds between two readings of a page, 1 by
    default. The scraper is started only if a page answers or may answer later.
    """

    def __init__(
        self,
        pages: Mapping[str, Mapping[str, str]],
        *,
        insecure: bool = False,
        periods_s: Mapping[str, float] | None = None,
    ) -> None:
        self.readings: dict[str, list[Reading]] = {url: [] for url in pages}
        self.errors: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._read_once(pages, insecure=insecure)
        left = {u: h for u, h in pages.items() if self.errors.get(u, "") in ("", *MAY_COME)}
        if left:
            self._start_scraper(left, insecure, periods_s or {})

    def _read_once(self, pages: Mapping[str, Mapping[str, str]], *, insecure: bool) -> None:
        """In this process: to start the scraper takes a tenth of a second."""

        def read(url: str) -> None:
            page = Page(url, pages[url], insecure=insecure, timeout_s=FIRST_READING_S)
            try:
                self.readings[url].append(first_reading(page))
            except NotMetricsError as e:
                self.errors[url] = str(e)

        with ThreadPoolExecutor() as pool:
            list(pool.map(read, (url for url in pages if not url.startswith(NVML))))

    def _start_scraper(
        self,
        pages: Mapping[str, Mapping[str, str]],
        insecure: bool,
        periods_s: Mapping[str, float],
    ) -> None:
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "llmbench_locust.server_metrics.scraper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run; the scraper ends after it
        )
        order = {
            "pages": {
                url: {
                    "headers": dict(headers),
                    "period_s": periods_s.get(url, 1.0),
                    "answered": url not in self.errors,
                }
                for url, headers in pages.items()
            },
            "insecure": insecure,
        }
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        self._reader = threading.Thread(target=self._gather, args=(process,), daemon=True)
        self._reader.start()

    def wait_for_first(self, timeout_s: float) -> bool:
        """Wait until every URL was read once or failed. Returns whether any was read."""
        ends = perf_counter() + timeout_s
        while self._process and perf_counter() < ends and self._reader.is_alive():
            if all(self.readings[url] or url in self.errors for url in self.readings):
                break
            self._reader.join(0.02)
        return any(self.readings.values())

    def stop(self) -> None:
        """Read once more, then end the scraper. May be called again."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        self._reader.join(LAST_READING_S)
        if process.poll() is None:
            process.kill()
        process.wait()

    def latest(self) -> list[Reading]:
        """The latest reading of each page that has one."""
        return [found[-1] for found in self.readings.values() if found]

    def window(self, start_s: float, end_s: float) -> dict[str, list[Reading]]:
        """Each server's readings of a run: the last before its start to the first after its end."""
        return {url: _within(found, start_s, end_s) for url, found in self.readings.items()}

    def _gather(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            url = found.pop("url")
            if "error" in found:
                self.errors[url] = found["error"]
            else:
                self.readings[url].append(reading_from(found))


def reading_from(found: Json) -> Reading:
    """A reading from its JSON line."""
    return Reading(
        found["time_s"],
        found["values"],
        {
            name: Histogram(h["total_s"], h["count"], tuple(h["bounds"]), tuple(h["counts"]))
            for name, h in found["histograms"].items()
        },
    )


def _within(readings: list[Reading], start_s: float, end_s: float) -> list[Reading]:
    first = max((i for i, r in enumerate(readings) if r.time_s <= start_s), default=0)
    last = next((i for i, r in enumerate(readings) if r.time_s >= end_s), len(readings) - 1)
    return readings[first : last + 1]


def server_block(
    by_url: Mapping[str, Sequence[Reading]], percentiles: Sequence[float]
) -> tuple[ServerFigures | None, dict[str, ServerFigures]]:
    """All replicas together, and each by its URL."""
    each = {
        url: figures
        for url, readings in by_url.items()
        if (figures := figures_of(readings, percentiles)) is not None
    }
    return summed(list(each.values())), each
