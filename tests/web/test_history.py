"""The last runs of a session are kept, within bounds."""

from __future__ import annotations

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.web import history
from llmbench_locust.web.history import DOWNLOADS, History


class Done:
    def __init__(self, number: int, tokens: int) -> None:
        self.document: Json = {"number": number, "total_output_tokens": tokens, "ttfts": [0.1]}

    def report_html(self) -> str:
        return "report"

    def table_csv(self) -> bytes:
        return b"csv"

    def table_parquet(self) -> bytes:
        return b"parquet"


def after(runs: int, tokens: int) -> History:
    live = LiveStats({}, (99.0,))
    done: list[Done] = []
    kept = History(live, lambda: done[-1])
    for number in range(1, runs + 1):
        live.reset({"request_rate": 5.0, "started": "2026-01-01T10:20:30+00:00"})
        live.begin()
        done.append(Done(number, tokens))
        live.finish(done[-1].document, {"client_limited": False, "reasons": []})
    return kept


def test_twenty_runs_stay_each_with_its_figures_and_files() -> None:
    kept = after(runs=23, tokens=100)
    assert [row["run"] for row in kept.titles()] == list(range(23, 3, -1))
    assert kept.titles()[0]["title"] == "Run 23: 5 req/s, 0 requests, 10:20:30"
    assert 3 not in kept
    assert orjson.loads(kept[4].shot)["run"] == 4
    assert kept[4].downloads == list(DOWNLOADS)
    assert orjson.loads(kept[4].content("result.json"))["number"] == 4
    assert kept[4].content("requests.csv") == b"csv"


def test_of_older_large_runs_the_figures_stay() -> None:
    kept = after(runs=4, tokens=history.MOST_TOKENS // 2)
    assert [kept[run].downloads == list(DOWNLOADS) for run in (1, 2, 3, 4)] == [
        False,
        False,
        True,
        True,
    ]
    assert kept[1].downloads == ["result.json"]
    assert orjson.loads(kept[1].content("result.json")) == {
        "number": 1,
        "total_output_tokens": history.MOST_TOKENS // 2,
    }
    alone = after(runs=1, tokens=history.MOST_TOKENS * 2)
    assert alone[1].downloads == list(DOWNLOADS), "the latest is whole, however large"


def test_a_run_without_a_result_is_not_kept() -> None:
    live = LiveStats({}, (99.0,))
    kept = History(live, lambda: None)
    live.reset({})
    live.begin()
    live.finish(None, {"client_limited": None, "reasons": []})
    assert kept.titles() == []
