"""The last runs of this process: what the page shows about each, and its files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import gevent
import orjson

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.live_series import BUCKETS
from llmbench_locust.run.report import Report

MOST_RUNS = 20
#: Output tokens of all runs whose requests are kept; older runs keep only the result's figures.
MOST_TOKENS = 4_000_000


@dataclass(slots=True)
class Kept:
    """``results`` is None if only ``document``, without its lists, is left."""

    title: str
    shot: bytes
    document: Json
    results: Report | None
    tokens: int

    @property
    def downloads(self) -> list[str]:
        return list(DOWNLOADS) if self.results is not None else ["result.json"]

    def content(self, name: str) -> bytes | str:
        """The content of a download; ``name`` is in `downloads`."""
        make = DOWNLOADS[name].make
        return result_json(self.document) if self.results is None else make(self.results)

    def forget_requests(self) -> None:
        self.results = None
        self.document = {k: v for k, v in self.document.items() if not isinstance(v, list)}


class History:
    """``results()``: of the run that has just finished."""

    def __init__(self, live: LiveStats, results: Callable[[], Report | None]) -> None:
        self._live, self._results = live, results
        self._kept: dict[int, Kept] = {}
        live.on_end = self._keep

    def __getitem__(self, run: int) -> Kept:
        return self._kept[run]

    def __contains__(self, run: int) -> bool:
        return run in self._kept

    def titles(self) -> list[Json]:
        """``{run, title}``, the latest first."""
        return [{"run": run, "title": self._kept[run].title} for run in sorted(self._kept)[::-1]]

    def _keep(self) -> None:
        done = self._results()
        if done is None or done.document is None:
            return
        shot = self._live.snapshot(0, most=BUCKETS)
        tokens = int(done.document.get("total_output_tokens") or 0)
        kept = Kept(_title(shot), orjson.dumps(shot), done.document, done, tokens)
        self._kept[self._live.run] = kept
        self._make_room()

    def _make_room(self) -> None:
        for run in sorted(self._kept)[:-MOST_RUNS]:
            del self._kept[run]
        tokens = 0
        for run in sorted(self._kept)[::-1]:
            tokens += self._kept[run].tokens
            if tokens > MOST_TOKENS and run != self._live.run:
                self._kept[run].forget_requests()


def _title(shot: Json) -> str:
    """Run 3: 10 req/s, 300 requests, 14:02:11."""
    info = shot["info"]
    rate, cap = info.get("request_rate"), info.get("max_concurrency")
    sessions = info.get("concurrent_sessions")
    paced = isinstance(rate, int | float)
    capped = f"{cap} at a time" if cap else f"{sessions} sessions at a time" if sessions else ""
    words = [
        f"{rate:g} req/s" if paced else "",
        capped or ("" if paced else "at once"),
        f"{shot['totals']['completed'] + shot['totals']['failed']:,} requests",
        str(info.get("started") or "").partition("T")[2][:8],
    ]
    return f"Run {shot['run']}: {', '.join(filter(None, words))}"


#: Changes within this share are "no change".
EQUIVALENCE = 0.02


def differences(base: Json, new: Json) -> Json:
    """Compares two result documents as `llmbench compare` does: ``{head, rows, notes}``, all
    texts.
    """
    # In a thread, so that the page stays responsive: intervals of many requests take a moment.
    found: Json = gevent.get_hub().threadpool.apply(_differences, (base, new))
    return found


def _differences(base: Json, new: Json) -> Json:
    from llmbench_locust.compare.engine import compare, default_metrics
    from llmbench_locust.compare.reading import run_of
    from llmbench_locust.compare.tables import HEAD, cells

    try:
        # As read from files: without NumPy types.
        before, after = (
            [run_of(name, orjson.loads(result_json(document)))]
            for name, document in (("base", base), ("new", new))
        )
        found = compare("", before, after, default_metrics(before), EQUIVALENCE)
    except (ConfigError, KeyError, ValueError) as e:
        return {"head": [], "rows": [], "notes": [f"These runs cannot be compared: {e}"]}
    rows = [cells(row, EQUIVALENCE) for row in found.rows]
    if found.void:  # show the figures side by side, without a verdict
        rows = [(*row[:-1], "not comparable") for row in rows]
    return {"head": HEAD, "rows": rows, "notes": [note.text for note in found.notes]}


def result_json(document: Json) -> bytes:
    """The content of the result file."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


class Download(NamedTuple):
    """``kind``: its content type. ``make``: its content from a report."""

    title: str
    kind: str
    make: Callable[[Report], bytes | str]


#: By the name of the route under /llm.
DOWNLOADS = {
    "result.json": Download(
        "Result JSON", "application/json", lambda done: result_json(done.document)
    ),
    "requests.csv": Download(
        "Requests CSV", "text/csv; charset=utf-8", lambda done: done.table_csv()
    ),
    "requests.parquet": Download(
        "Requests Parquet", "application/vnd.apache.parquet", lambda done: done.table_parquet()
    ),
    "report.html": Download(
        "HTML report", "text/html; charset=utf-8", lambda done: done.report_html()
    ),
}


def file_name(document: Json, name: str) -> str:
    """A file name that tells runs apart: backend, model and date, in plain characters."""
    stem, _, extension = name.partition(".")
    model = str(document.get("model_id") or "").rsplit("/", 1)[-1]
    backend, date = document.get("backend") or "llmbench", document.get("date") or ""
    parts = [str(backend), model, str(date), stem]
    plain = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", p).strip("._-") for p in parts if p)
    return f"{re.sub(r'-+', '-', plain)[:150]}.{extension}"
