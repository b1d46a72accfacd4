"""The process that reads the servers' metrics once a second, away from the process that sends.

Its order comes as one JSON line on standard input: ``{"pages": {url: headers}, "insecure":
false, "period_s": 1.0}``. For each reading it writes one JSON line to standard output, for a server
that cannot be read one line with ``error`` at each change of the reason. It ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import select
import sys
import time
from collections.abc import Mapping

import requests

from llmbench_locust.json_types import Json
from llmbench_locust.server_metrics.reading import NotMetricsError, Reading, parse

TIMEOUT_S = 5.0
#: Reasons that time may heal: the server is starting, or busy.
MAY_COME = ("no connection", "timed out", "status 503")
NOTHING_KNOWN = "it has none of the figures of docs/server-metrics.md"
#: More than this is no metrics page that one would read once a second.
MOST_BYTES = 8 << 20


def read(session: requests.Session, url: str, headers: Mapping[str, str]) -> Reading:
    """One reading, timed between request and response. Raises NotMetricsError with the reason."""
    began = time.perf_counter()
    try:
        with session.get(
            url, headers=headers, timeout=TIMEOUT_S, stream=True, allow_redirects=False
        ) as response:
            if response.status_code != 200:
                raise NotMetricsError(f"status {response.status_code}")
            body = _body(response, began)
    except requests.RequestException as e:
        reason = "timed out" if isinstance(e, requests.Timeout) else "no connection"
        raise NotMetricsError(reason) from e
    return parse(body.decode("utf-8", "replace"), (began + time.perf_counter()) / 2)


def _body(response: requests.Response, began: float) -> bytes:
    parts, size = [], 0
    for part in response.iter_content(1 << 16):
        size += len(part)
        if size > MOST_BYTES:
            raise NotMetricsError(f"more than {MOST_BYTES >> 20} MB")
        if time.perf_counter() - began > TIMEOUT_S:
            raise NotMetricsError("timed out")
        parts.append(part)
    return b"".join(parts)


def line_of(url: str, reading: Reading) -> str:
    """A reading as a line of JSON."""
    return json.dumps({"url": url, **dataclasses.asdict(reading)})


def main() -> int:
    """Read until standard input closes."""
    order: Json = json.loads(sys.stdin.readline())
    session = requests.Session()
    session.verify = not order["insecure"]
    pages: dict[str, Json] = dict(order["pages"])
    said: dict[str, str] = {}
    due = time.perf_counter()
    while True:
        for url, headers in list(pages.items()):
            if not _report(session, url, headers, said):
                del pages[url]
        due = max(due + order["period_s"], time.perf_counter())
        timeout = max(0.0, due - time.perf_counter()) if pages else None
        ready, _, _ = select.select([sys.stdin], [], [], timeout)
        if ready:  # closed: one last reading, so that the run's end is in it
            for url, headers in pages.items():
                _report(session, url, headers, said)
            return 0


def _report(session: requests.Session, url: str, headers: Json, said: dict[str, str]) -> bool:
    """Read a page and print what came. Returns whether to go on: a page that at first is none, or
    tells nothing that we know, is not asked again.
    """
    first = url not in said
    try:
        reading = read(session, url, headers)
        if first and not reading.values and not reading.histograms:
            raise NotMetricsError(NOTHING_KNOWN)
        line, reason = line_of(url, reading), ""
    except NotMetricsError as e:
        reason = str(e)
        line = json.dumps({"url": url, "error": reason})
    if said.get(url) != reason or not reason:
        print(line, flush=True)
    said[url] = reason
    return not (first and reason and reason not in MAY_COME)


if __name__ == "__main__":
    sys.exit(main())
