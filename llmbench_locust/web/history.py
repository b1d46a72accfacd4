"""The last runs of this process: what the page shows of each, and its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.live_series import BUCKETS
from llmbench_locust.run.report import Report
from llmbench_locust.web.downloads import DOWNLOADS, content_of, result_json

MOST_RUNS = 20
#: Output tokens of all runs whose requests are kept; of older ones the result's figures stay.
MOST_TOKENS = 4_000_000


@dataclass(slots=True)
class Kept:
    """``results`` is None where only ``document``, without its lists, is still there."""

    title: str
    shot: bytes
    document: Json
    results: Report | None
    tokens: int

    @property
    def downloads(self) -> list[str]:
        return list(DOWNLOADS) if self.results is not None else ["result.json"]

    def content(self, name: str) -> bytes | str:
        """One download's content; ``name`` is in `downloads`."""
        if name == "result.json" or self.results is None:
            return result_json(self.document)
        return content_of(self.results, name)

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
    paced = isinstance(rate, int | float)
    words = [
        f"{rate:g} req/s" if paced else "",
        f"{cap} at a time" if cap else "" if paced else "at once",
        f"{shot['totals']['completed'] + shot['totals']['failed']:,} requests",
        str(info.get("started") or "").partition("T")[2][:8],
    ]
    return f"Run {shot['run']}: {', '.join(filter(None, words))}"
