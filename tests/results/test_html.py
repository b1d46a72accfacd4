"""The report stands alone, shows the figures, and shows hostile names as text."""

import json
import re
from html.parser import HTMLParser

import numpy as np

from llmbench_locust.metrics.audit import AuditInputs
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.results.charts import lengths
from llmbench_locust.results.document import build_document
from llmbench_locust.results.html import charts_html, dataset_stats_html, report_html, timeline_html
from llmbench_locust.results.requests_table import request_frame
from llmbench_locust.results.shown import Shown
from llmbench_locust.results.timeline import MOST_PIECES, MOST_ROWS, timeline
from llmbench_locust.server_metrics.reading import Reading
from tests.metrics.rows import columns, failed, lags, row

from .runs import config, finished
from .runs import figures as derived

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</script>\u2028"


class Page(HTMLParser):
    """Elements, attributes, text outside scripts, and scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.scripts = [], [], "", []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [f"{tag}.{name}" for name, _ in attrs]
        self._in = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif not self._in:
            self.text += data


def figures(page):
    """The charts' data, as the browser would have it."""
    found = []
    for script in page.scripts[1:]:
        data = re.fullmatch(
            r'\(f=>Plotly\.newPlot\("chart\d+",f\.data,f\.layout,\{.*?\}\)\)\((.*)\)', script, re.S
        )
        found.append(json.loads(data.group(1)))
    return found


def report(done):
    return report_html(Shown.of(done, build_document(done)))


def hostile():
    records = [
        row(
            i,
            i * 0.2,
            0.1,
            (0.01, 0.03, 0.06),
            request_id=EVIL,
            label=EVIL,
            finish_reason=EVIL,
            expected_output_len=5,
        )
        for i in range(30)
    ]
    records.append(failed(30, 1.0, 2.0, kind=EVIL, error=EVIL, request_id=EVIL, label="b"))
    audit = AuditInputs(lags(0.5), lags(0.001), {EVIL: 0.1})
    given = config(model=EVIL, goodput={"ttft": 50.0, "e2el": 400.0}, metadata={EVIL: EVIL})
    return finished(*records, given=given, audit=audit)


def test_a_hostile_server_is_shown_as_text():
    page = Page(report(hostile()))
    assert "img" not in page.tags
    assert not [a for a in page.attributes if ".on" in a]
    assert page.tags.count("script") == 1 + 4  # plotly's and one a chart
    assert page.text.count("alert(1)") >= 4
    for figure in figures(page):
        # Plotly reads HTML in texts: in ours there is none.
        assert "<script" not in json.dumps(figure)
        assert "<img" not in json.dumps(figure)
    assert "The client was the limit" in page.text


def test_no_text_of_a_chart_ends_its_script():
    page = Page(charts_html([("t", {"data": [{"name": EVIL}], "layout": {}})]))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert EVIL in page.scripts[0].encode().decode("unicode_escape")


def test_it_stands_alone():
    text = report(hostile())
    page = Page(text)
    assert not {"script.src", "img.src"} & set(page.attributes)
    assert re.findall(r'<link [^>]*href="([^"]*)"', text) == ["data:,"], "an empty icon"
    assert "Plotly" in page.scripts[0]
    assert len(page.scripts[0]) > 1_000_000


def test_charts_hold_the_figures():
    given = config(goodput={"ttft": 150.0})
    records = row(0, 10.0, 0.1, (0.1,)), row(1, 10.5, 0.3, (0.2,)), failed(2, 10.6, 11.5)
    page = Page(report(finished(*records, given=given, origin_s=10.0)))
    load, latency, shares, _ = figures(page)
    sent = next(t for t in load["data"] if t["name"] == "sent/s")
    width = sent["x"][1] - sent["x"][0]
    assert sum(sent["y"][:-1]) * width == 3
    assert (sent["x"][-1], sent["y"][-1]) == (1.5, sent["y"][-2]), "a whole last step"
    ttft = next(t for t in latency["data"] if t["name"] == "TTFT")
    assert (ttft["x"], [round(v) for v in ttft["y"]]) == ([0.0, 0.5], [100, 300])
    objective = next(t for t in latency["data"] if t["name"] == "TTFT objective")
    assert objective["y"] == [150.0, 150.0]
    assert [t["name"] for t in shares["data"]] == ["TTFT", "TPOT", "ITL", "E2EL", "TTFT objective"]
    assert [round(v) for v in shares["data"][0]["x"]] == [100, 300]


def test_the_timelines_colours():
    # Waited 0.5 s for a permit; gaps of 10, 26, 49 and 51 ms against limits of 25 and 50.
    cols = columns(
        row(0, 1.0, 0.1, (0.010, 0.026, 0.049, 0.051), due_time=0.5), failed(1, 2.0, 3.0)
    )
    found = {t["name"]: t for t in timeline(cols, None, 0.0, (25.0, 50.0))["data"]}
    assert list(found) == [
        "waiting",
        "TTFT",
        "ITL < 25 ms",
        "25 ms ≤ ITL < 50 ms",
        "ITL ≥ 50 ms",
        "failed",
    ]

    def spans(name):
        x = found[name]["x"]
        return [(round(a, 3), round(b, 3)) for a, b in zip(x[::3], x[1::3], strict=True)]

    assert spans("waiting") == [(0.5, 1.0)]
    assert spans("TTFT") == [(1.0, 1.1)]
    assert spans("ITL < 25 ms") == [(1.1, 1.11)]
    # Neighbours of one colour are one line.
    assert spans("25 ms ≤ ITL < 50 ms") == [(1.11, 1.185)]
    assert spans("ITL ≥ 50 ms") == [(1.185, 1.236)]
    assert spans("failed") == [(2.0, 3.0)]
    assert found["failed"]["y"] == [1, 1, None]


def test_a_timeline_has_a_bound_and_says_so():
    gaps = (0.01, 0.1) * 300
    cols = columns(*(row(i, float(i), 0.1, gaps) for i in range(400)))
    figure = timeline(cols, None, 0.0, (25.0, 50.0))
    assert sum(len(t["x"]) for t in figure["data"]) < 3 * (MOST_PIECES + 1000)
    assert re.fullmatch(
        r"request \(the first \d+ of 400\)", figure["layout"]["yaxis"]["title"]["text"]
    )
    many = timeline(
        columns(*(row(i, float(i)) for i in range(MOST_ROWS + 5))), None, 0.0, (25.0, 50.0)
    )
    assert (
        many["layout"]["yaxis"]["title"]["text"]
        == f"request (the first {MOST_ROWS} of {MOST_ROWS + 5})"
    )
    assert timeline(columns(), None, 0.0, (25.0, 50.0)) is None
    assert "No request was sent" in timeline_html(derived(columns()))


def test_gaps_that_were_not_kept_are_not_drawn_as_gaps():
    store = RecordStore(max_exact_tokens=1)
    store.add(columns(row(0, 0.0, 0.1, (0.1, 0.2, 0.3))))
    cols = store.columns()
    found = timeline(cols, None, 0.0, (25.0, 50.0), store.folded.mask(cols))["data"]
    assert [t["name"] for t in found] == ["TTFT", "gaps not kept"]


def test_charts_over_time_leave_out_token_events_that_were_not_kept():
    store = RecordStore(max_exact_tokens=4)
    store.add(columns(row(0, 0.0, 0.1, (0.1, 0.1))))
    store.add(columns(row(1, 0.5, 0.1, (0.1, 0.1, 0.1, 0.1))))
    done = derived(store.columns(), folded=store.folded)
    load, latency, *_ = figures(Page(report(done)))
    assert [t["name"] for t in load["data"]] == ["sent/s", "completed/s", "in flight"]
    medians = next(t for t in latency["data"] if t["name"] == "ITL median")
    assert [round(y) for y in medians["y"]] == [100] * len(medians["y"])  # not 400
    assert request_frame(done)["token_events"].isna().tolist() == [False, True]
    shown = Shown.of(done, build_document(done))
    assert shown.latency_ms("itl", 99) is not None  # in the document
    assert shown.latency_ms("itl", 90) is None  # the gaps that were kept are not all


def test_lengths_of_the_workload():
    done = finished(
        row(0, prompt_len=5, expected_output_len=4),
        row(1, prompt_len=5, gaps=(0.1,)),
        row(2, prompt_len=7),
        failed(3),
    )
    charts = dict(lengths(done.facts.columns, done.summary.output_lens))
    bars = charts["Input tokens"]["data"][0]
    assert {x: y for x, y in zip(bars["x"], bars["y"], strict=True) if y} == {
        5.0: 2,
        7.0: 1,
        10.0: 1,
    }
    received = charts["Output tokens"]["data"][1]
    assert {x: y for x, y in zip(received["x"], received["y"], strict=True) if y} == {
        1.0: 2,
        2.0: 1,
    }
    page = Page(dataset_stats_html(done))
    assert len(figures(page)) == 4


def test_runs_in_which_nothing_happened():
    for records in ([failed(0, float("nan"), float("nan"))], [failed(0)]):
        done = finished(*records, given=config(goodput={"ttft": 1.0}))
        assert "http_500" in report(done)
    answer = {"token_times": np.empty(0), "output_len": 0, "first_token_time": float("nan")}
    done = finished(row(0, **answer), kind="pooling", given=config(percentile_metrics=("e2el",)))
    assert "mean_e2el_ms" in report(done)


def test_no_page_holds_a_foreign_address():
    done = finished()
    pages = [
        report(done),
        timeline_html(done),
        dataset_stats_html(done),
    ]
    for text in pages:
        plotlys, ours = text.partition("<script>")[2].partition("</script>")[::2]
        assert len(plotlys) > 1_000_000
        rest = text.partition("<script>")[0] + ours
        # The only address is the server's, in the command that repeats the run.
        assert set(re.findall(r"(?:https?:)?//[\w.]+", rest)) <= {"http://127.0.0.1"}
        assert "modeBarButtons" in rest


def test_the_command_that_repeats_the_run_has_what_was_set_and_no_secret():
    given = config(goodput={"ttft": 50.0}, header={"X-Api": "h1dden-v"}, num_prompts=30, sim=True)
    text = report(finished(given=given))
    assert "llmbench serve" in text
    assert "--num-prompts 30" in text
    assert "--goodput ttft:50" in text
    assert "h1dden" not in text


def test_it_opens_with_a_headline_and_tiles():
    text = Page(report(finished(given=config(goodput={"ttft": 1000.0})))).text
    assert "1.0 req/s · SLO met 66.7% · P99 TTFT" in text
    for title in ("TTFT P50 / P99 (ms)", "Output tokens/s", "Goodput (req/s)", "Failed"):
        assert title in text
    assert "1 of 3" in text


def test_its_tables_hold_what_is_for_eyes():
    """No readings of every second, no Python, no powers of ten for plain figures."""
    readings = [Reading(float(t), {"running": 1.0}, {}) for t in range(3)]
    records = [row(i, i / 10, 0.2, (0.05, 0.1), prompt_len=30_000) for i in range(3)]
    done = finished(*records, given=config(save_detailed=True), server={"http://x": readings})
    text = Page(report(done)).text
    assert "server.all.gauges.running.mean" in text
    assert "total_token_throughput45" in text
    for strange in ("time_s'", "None", "True", "['", "e+0"):
        assert strange not in text, strange


def test_answers_in_one_piece_have_no_time_between_tokens():
    """Whole answers from a proxy that buffers: 0 ms is what lies between the reads of no chunks."""
    page = Page(report(finished(*(row(i, i, 0.1, (0.0, 0.0)) for i in range(3)))))
    assert "TPOT P50 / P99 (ms)" in page.text
    assert "n/a / n/aTPOT" in page.text
    assert "ITL (ms)" not in page.text
    assert "answers_in_one_piece" in page.text
    assert "answers_in_one_piece" not in report(finished())
