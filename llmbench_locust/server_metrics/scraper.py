"""The process that scrapes the servers' metrics, separate from the process that sends requests.

It reads its pickled configuration from standard input: (URL, headers, whether to skip TLS
verification, seconds between two readings, whether the page has answered before) for each page. It
writes pickled (URL, `Reading`) to standard output, and (URL, reason) for a page that cannot be
read, whenever the reason changes. It ends when its input closes, without waiting for pages that
never answered.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import requests

from llmbench_locust.server_metrics.reading import NotMetricsError, Reading, parse
from llmbench_locust.server_session import ServerSession

#: Used in --gpu-metrics instead of a URL.
NVML = "nvml"
TIMEOUT_S = 5.0
#: Reasons that may be temporary: the server is starting, or busy.
MAY_COME = ("no connection", "timed out", "status 503")
NOTHING_KNOWN = "it has none of the figures in docs/server-metrics.md"
#: Larger pages are not read, because that would take too long once a second.
MOST_BYTES = 8 << 20
#: TensorRT-LLM has JSON at /metrics, and its Prometheus text here.
_TRTLLM = "/prometheus/metrics"
_writing = threading.Lock()


class Page:
    """One page. The fragment (``#``) of its URL selects GPUs: indexes or UUIDs, comma-separated."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, insecure: bool, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._timeout_s = timeout_s
        self._url, _, gpus = url.partition("#")
        self._gpus = [gpu for gpu in gpus.split(",") if gpu]
        self.answered = False
        self._asking: threading.Thread | None = None
        self._session = ServerSession(self._url, insecure=insecure)
        self._session.headers.update(headers)

    def read(self) -> Reading:
        """One reading; its time is midway between request and response. Raises NotMetricsError."""
        if self._url == NVML:
            return read_gpus(self._gpus)
        began = time.perf_counter()
        body = self._body(self._url)
        if body[:1] in (b"[", b"{") and urlsplit(self._url).path == "/metrics":
            self._url = self._url.removesuffix("/metrics") + _TRTLLM
            body = self._body(self._url)
        text = body.decode("utf-8", "replace")
        return parse(text, (began + time.perf_counter()) / 2, self._gpus)

    def _body(self, url: str) -> bytes:
        """The library restarts its timeout with each byte; this one is for the whole body."""
        found: list[bytes | NotMetricsError] = []

        def ask() -> None:
            try:
                found.append(self._asked(url))
            except NotMetricsError as e:
                found.append(e)

        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=ask, daemon=True)
            self._asking.start()
            self._asking.join(self._timeout_s)
        if not found:
            raise NotMetricsError("timed out")
        if isinstance(found[0], NotMetricsError):
            raise found[0]
        return found[0]

    def _asked(self, url: str) -> bytes:
        parts, size = [], 0
        try:
            with self._session.get(
                url, timeout=self._timeout_s, stream=True, allow_redirects=False
            ) as response:
                if response.status_code != 200:
                    raise NotMetricsError(f"status {response.status_code}")
                for part in response.iter_content(1 << 16):
                    size += len(part)
                    if size > MOST_BYTES:
                        raise NotMetricsError(f"more than {MOST_BYTES >> 20} MB")
                    parts.append(part)
        except requests.RequestException as e:
            # A timeout in the middle of the body is a ConnectionError.
            late = isinstance(e, requests.Timeout) or "timed out" in str(e)
            raise NotMetricsError("timed out" if late else "no connection") from e
        return b"".join(parts)


def first_reading(page: Page) -> Reading:
    """The first reading. Raises NotMetricsError, also for a page without any known figure."""
    reading = page.read()
    if not reading.values and not reading.histograms:
        raise NotMetricsError(NOTHING_KNOWN)
    return reading


def watch(url: str, page: Page, period_s: float, ended: threading.Event) -> None:
    """Read a page periodically, and once more at the end of the run. A page that is not a metrics
    page at first, or has no known figure, is not read again.
    """
    said: str | None = None
    due, last = time.perf_counter(), False
    while True:
        found: Reading | str
        try:
            found = first_reading(page) if said is None else page.read()
            reason, page.answered = "", True
        except NotMetricsError as e:
            found = reason = str(e)
        if said != reason or not reason:
            with _writing:
                pickle.dump((url, found), sys.stdout.buffer)
                sys.stdout.buffer.flush()
        if last or (said is None and reason and reason not in MAY_COME):
            return
        said = reason
        due = max(due + period_s, time.perf_counter())
        last = ended.wait(max(0.0, due - time.perf_counter()))


def main() -> int:
    ended = threading.Event()
    threads = []
    for url, headers, insecure, period_s, answered in pickle.load(sys.stdin.buffer):
        page = Page(url, headers, insecure=insecure)
        page.answered = answered
        args = (url, page, period_s, ended)
        threads.append((page, threading.Thread(target=watch, args=args, daemon=True)))
        threads[-1][1].start()
    sys.stdin.read()
    ended.set()
    for page, thread in threads:
        if page.answered:  # do not wait for a page that never answered
            thread.join()
    return 0


def read_gpus(wanted: Sequence[str]) -> Reading:
    """Power, utilization, memory and energy of this machine's GPUs with these indexes or UUIDs
    (default: all), from NVIDIA's library (`nvidia-ml-py`). Raises NotMetricsError.
    """
    try:
        import pynvml
    except ImportError:
        raise NotMetricsError("nvidia-ml-py is missing: install llmbench-locust[nvml]") from None
    try:
        pynvml.nvmlInit()
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if not wanted or {str(index), pynvml.nvmlDeviceGetUUID(handle)} & set(wanted):
                gpus.append(handle)
        began = time.perf_counter()
        values = {
            "gpus": float(len(gpus)),
            "gpu_power": sum(pynvml.nvmlDeviceGetPowerUsage(g) for g in gpus) / 1e3,
            "gpu_memory": float(sum(pynvml.nvmlDeviceGetMemoryInfo(g).used for g in gpus)),
            "gpu_utilization": sum(pynvml.nvmlDeviceGetUtilizationRates(g).gpu for g in gpus)
            / (100 * max(1, len(gpus))),
        }
        try:
            energy_mj = sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(g) for g in gpus)
            values["gpu_energy"] = energy_mj / 1e3
        except pynvml.NVMLError_NotSupported:
            pass  # GPUs older than Volta have only power
    except pynvml.NVMLError as error:
        raise NotMetricsError(f"NVML: {error}") from error
    return Reading((began + time.perf_counter()) / 2, values if gpus else {})


if __name__ == "__main__":
    sys.exit(main())
