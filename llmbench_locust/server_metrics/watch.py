"""Reads the metrics pages during a run: once here, then in the scraper, a separate process."""

from __future__ import annotations

import contextlib
import math
import pickle
import subprocess
import sys
import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from time import perf_counter

from llmbench_locust.server_metrics.figures import ServerFigures, figures_of, summed
from llmbench_locust.server_metrics.reading import NotMetricsError, Reading
from llmbench_locust.server_metrics.scraper import MAY_COME, NVML, Page, first_reading

#: Timeout of a page's first reading.
FIRST_READING_S = 2.0
#: Timeout of the last reading, at the end of a run.
LAST_READING_S = 1.5
#: Readings of a page in memory. Beyond this, every second one is dropped, so that a run can last a
#: week.
MOST_READINGS = 20_000


class ServerWatch:
    """Readings of each URL during a run. The sending process only unpickles them.

    ``pages``: URL of each metrics page → headers to send; they reach the scraper through a pipe,
    never on its command line. ``periods_s``: seconds between two readings of a page, default 1. The
    scraper is started only if a page answers or may answer later.
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
        """Read in this process, because starting the scraper takes a tenth of a second."""

        def read(url: str) -> None:
            page = Page(url, pages[url], insecure=insecure, timeout_s=FIRST_READING_S)
            try:
                self.readings[url].append(first_reading(page))
            except NotMetricsError as e:
                self.errors[url] = str(e)

        with ThreadPoolExecutor() as pool:
            list(pool.map(read, (url for url in pages if not url.startswith(NVML))))

    def _start_scraper(
        self, pages: Mapping[str, Mapping[str, str]], insecure: bool, periods_s: Mapping[str, float]
    ) -> None:
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "llmbench_locust.server_metrics.scraper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach the scraper, which ends after the run
        )
        order = [
            (url, dict(headers), insecure, periods_s.get(url, 1.0), url not in self.errors)
            for url, headers in pages.items()
        ]
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            pickle.dump(order, process.stdin)
            process.stdin.flush()
        self._reader = threading.Thread(target=self._gather, args=(process,), daemon=True)
        self._reader.start()

    def wait_for_first(self, timeout_s: float) -> bool:
        """Wait until every URL was read once or failed. Returns whether any could be read."""
        ends = perf_counter() + timeout_s
        while self._process and perf_counter() < ends and self._reader.is_alive():
            if all(self.readings[url] or url in self.errors for url in self.readings):
                break
            self._reader.join(0.02)
        return any(self.readings.values())

    def stop(self) -> None:
        """Read once more, then end the scraper. Can be called again."""
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
        self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def latest(self) -> list[Reading]:
        return [found[-1] for found in self.readings.values() if found]

    def of_run(self, start_s: float) -> dict[str, list[Reading]]:
        """Each server's readings of a run: the last before its start, and all since."""
        return {url: of_run(found, start_s) for url, found in self.readings.items()}

    def since(self, times_s: Mapping[str, float]) -> dict[str, list[Reading]]:
        """The readings of each URL after the given time; all if none is given."""
        found: dict[str, list[Reading]] = {}
        for url, readings in self.readings.items():
            known = bisect_right(readings, times_s.get(url, -math.inf), key=attrgetter("time_s"))
            if new := readings[known:]:
                found[url] = new
        return found

    def _gather(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the scraper ended
            while True:
                url, found = pickle.load(process.stdout)
                if isinstance(found, str):
                    self.errors[url] = found
                else:
                    thin(self.readings[url], [found])


def thin(readings: list[Reading], new: Iterable[Reading]) -> None:
    """Append ``new`` to ``readings``. If there are too many, evenly spaced ones are kept."""
    readings += new
    if len(readings) > MOST_READINGS:
        apart_s = 2 * (readings[-1].time_s - readings[0].time_s) / MOST_READINGS
        kept = readings[:1]
        for reading in readings[1:-1]:
            if reading.time_s - kept[-1].time_s >= apart_s:
                kept.append(reading)
        readings[:] = [*kept, readings[-1]]


def of_run(readings: list[Reading], start_s: float) -> list[Reading]:
    """The last reading before the start of the run, and all since."""
    first = max((i for i, r in enumerate(readings) if r.time_s <= start_s), default=0)
    return readings[first:]


def server_block(
    by_url: Mapping[str, Sequence[Reading]], percentiles: Sequence[float]
) -> tuple[ServerFigures | None, dict[str, ServerFigures]]:
    """All replicas combined, and each by its URL."""
    each = {
        url: figures
        for url, readings in by_url.items()
        if (figures := figures_of(readings, percentiles)) is not None
    }
    return summed(list(each.values())), each
