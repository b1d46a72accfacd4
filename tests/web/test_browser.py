"""The whole way in a real browser: start form, LLM tab, live charts, stop, downloads; with workers;
with a hostile server.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench_locust.results.document import build_document
from llmbench_locust.results.html import report_html
from llmbench_locust.simulator.launch import launch
from tests.results.runs import finished
from tests.web.conftest import SERVE, SHORT, SYNTHETIC, Web, problems
from tests.web.hostile import MARKUP, hostile_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def open_form(browser: Any, web: Web) -> Any:
    page = browser.new_page()
    page.goto(web.url)
    page.get_by_role("button", name="Custom parameters").click()
    return page


def start(page: Any, **fields: str) -> None:
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    page.get_by_role("button", name="Start", exact=True).click()


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait for a JavaScript function to be true. Playwright's own way evaluates in the page, which
    its policy forbids.
    """
    deadline = time.monotonic() + 60
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"never: {expression}"
        page.wait_for_timeout(100)


def cell(page: Any, figure: str, column: int = 1) -> str:
    """A cell of the LLM tab by its row's first cell."""
    row = page.locator(
        "tr", has=page.locator("td:first-child", has_text=re.compile(rf"^{re.escape(figure)}$"))
    )
    text: str = row.locator("td").nth(column).inner_text()
    return text


def wait_for_requests(page: Any, least: int) -> None:
    """Until the LLM tab shows so many successful requests."""
    until(
        page,
        """least => [...document.querySelectorAll("tr")].some(row =>
               row.cells[0]?.textContent === "Successful requests"
               && Number(row.cells[1].textContent.replaceAll(",", "")) >= least)""",
        least,
    )


def drawn(page: Any, chart: str) -> int:
    """How many points with a value the chart holds, over all its lines."""
    count: int = page.evaluate(
        """id => document.getElementById(`plot-${id}`).data
               .reduce((n, line) => n + (line.y ?? []).flat().filter(v => v !== null).length, 0)""",
        chart,
    )
    return count


def watch(browser: Any, web: Web) -> tuple[Any, list[str]]:
    """The page of live charts, once it has drawn several seconds."""
    page = browser.new_page()
    errors = problems(page)
    page.goto(f"{web.url}/llm")
    until(
        page,
        "() => document.getElementById('plot-e2el')?.data?.[0]?.y?.filter(v => v !== "
        "null).length >= 2",
    )
    return page, errors


TOOLBAR = {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def toolbar(page: Any) -> set[str]:
    """The titles of all buttons of all charts."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".modebar-btn")]
               .map(b => b.dataset.title ?? b.getAttribute("aria-label"))"""
    )
    return set(found)


def test_the_toolbar_of_a_report_uploads_nothing(browser: Any, tmp_path: Path) -> None:
    done = finished()
    path = tmp_path / "report.html"
    path.write_text(report_html(done, build_document(done)))
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".modebar-btn")
    assert toolbar(page) == TOOLBAR
    assert asked == [path.as_uri()]


def download(page: Any, name: str) -> bytes:
    with page.expect_download() as found:
        page.locator("#downloads").get_by_text(name, exact=True).click()
    return Path(found.value.path()).read_bytes()


def check_downloads(charts: Any) -> dict[str, Any]:
    """All four files tell of the same requests; returns the result."""
    charts.wait_for_selector("#downloads a")
    document: dict[str, Any] = json.loads(download(charts, "result.json"))
    table = pd.read_csv(io.BytesIO(download(charts, "requests.csv")))
    parquet = pd.read_parquet(io.BytesIO(download(charts, "requests.parquet")))
    assert len(table) == len(parquet) == document["completed"] + document["failed"]
    report = download(charts, "report.html").decode()
    assert report.lstrip().lower().startswith("<!doctype html")
    assert 'src="http' not in report
    return document


def run_and_look(browser: Any, web: Web, shots: Callable[[Any, str], None]) -> dict[str, Any]:
    """Form → run → tab and charts fill → stop → downloads."""
    page = open_form(browser, web)
    page_errors = problems(page)
    start(page, numPrompts="100000", requestRate="abc")
    refused = page.get_by_role("alert").filter(has_text="--request-rate: 'abc'")
    refused.wait_for()
    shots(page, "refused")
    start(page, numPrompts="900", requestRate="15")
    page.get_by_role("tab", name="LLM").click()
    wait_for_requests(page, 20)
    assert float(cell(page, "Time to first token (TTFT) (ms)", 2)) > 0
    assert "measuring" in cell(page, "Client audit")
    assert re.match(r"\d+\.\d% \(\d+ of \d+\)", cell(page, "SLO attainment: TTFT ≤ 10000 ms"))
    shots(page, "tab")
    bar = page.locator("#llm-bar")
    assert bar.get_by_text("Live charts").get_attribute("href") == "./llm"
    charts, errors = watch(browser, web)
    for chart in ("rates", "concurrency", "tokens", "ttft", "tpot", "itl", "e2el", "heat", "lag"):
        assert drawn(charts, chart) > 0, chart
    assert charts.evaluate("document.getElementById('plot-ttft').layout.shapes.map(s => s.y0)") == [
        10000
    ]
    assert toolbar(charts) == TOOLBAR
    shots(charts, "charts")
    page.bring_to_front()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="New").wait_for()
    until(page, "() => !document.body.textContent.includes('measuring')")
    charts.bring_to_front()
    document = check_downloads(charts)
    shots(page, "stopped")
    shots(charts, "finished")
    assert cell(page, "Successful requests").replace(",", "") == str(document["completed"])
    assert document["completed"] >= 20
    verdict = (
        "CLIENT LIMITED"
        if document["llmbench"]["audit"]["client_limited"]
        else "OK: the client kept up"
    )
    assert verdict in cell(page, "Client audit")
    assert document["num_prompts"] == 900
    assert page_errors == []
    assert errors == []
    return document


def test_a_run_from_the_form_to_the_downloads(web: Any, browser: Any, shots: Any) -> None:
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, "--goodput", "ttft:10000", *SHORT)
        document = run_and_look(browser, started, shots)
        assert document["model_id"] == "sim"
        # Again, without a restart, and to its end.
        page = browser.pages[0]
        page.bring_to_front()
        page.get_by_role("button", name="New").click()
        page.get_by_role("button", name="Custom parameters").click()
        start(page, numPrompts="30", requestRate="inf")
        page.get_by_role("button", name="New").wait_for()
        wait_for_requests(page, 30)
        assert cell(page, "Successful requests") == "30"
        assert started.get("/llm/stats").json()["run"] == 2


@pytest.mark.cluster
def test_the_same_with_two_workers(web: Any, browser: Any, shots: Any) -> None:
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, "--goodput", "ttft:10000", *SHORT, workers=2)
        document = run_and_look(browser, started, shots)
        assert len(document["llmbench"]["workers"]) == 2


SLOW_STOP = """
import gevent
from locust import events
from locust.runners import WorkerRunner

@events.test_stopping.add_listener
def dawdle(environment, **_):
    if isinstance(environment.runner, WorkerRunner):
        gevent.sleep(6)
"""


@pytest.mark.cluster
def test_a_slow_stop_leaves_no_page_behind(web: Any, browser: Any, tmp_path: Path) -> None:
    """Locust's page asks no more once it was told of a state like "stopping", in which a slow
    worker holds the master.
    """
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW_STOP)
    with launch([]) as sim:
        started = web(Path(f"{SERVE},{slow}"), "--base-url", sim.url, *SHORT, workers=2)
        page = open_form(browser, started)
        start(page, numPrompts="900", requestRate="15")
        page.get_by_role("tab", name="LLM").click()
        wait_for_requests(page, 5)
        page.get_by_role("button", name="Stop").click()
        page.wait_for_timeout(4500)  # more than one of its polls, which come every two seconds
        assert page.get_by_role("button", name="Loading").is_visible()
        late = browser.new_page()
        late.goto(started.url)
        late.get_by_role("button", name="Stop").wait_for()
        for one in (page, late):
            one.bring_to_front()
            one.get_by_role("button", name="New").wait_for()


def test_a_hostile_server_puts_text_on_the_pages_and_no_markup(
    web: Any, browser: Any, shots: Any
) -> None:
    with hostile_server() as url:
        started = web(
            SERVE, "--base-url", url, "--ready-check-timeout-sec", "0", "--save-detailed", *SHORT
        )
        page = open_form(browser, started)
        start(page, numPrompts="60", requestRate="20")
        page.get_by_role("tab", name="LLM").click()
        page.get_by_role("button", name="New").wait_for()
        charts, errors = watch(browser, started)
        charts.wait_for_selector("#downloads a")
        assert MARKUP in cell(page, "Model")
        assert MARKUP in charts.locator("#what").inner_text()
        assert MARKUP in charts.locator("#errors").inner_text()
        for tab in ("Failures", "Logs", "LLM"):
            page.get_by_role("tab", name=tab).click()
        report = browser.new_page()
        report.set_content(download(charts, "report.html").decode(), wait_until="load")
        shots(page, "tab")
        shots(charts, "charts")
        shots(report, "report")
        for one in (page, charts, report):
            assert one.evaluate(
                "[window.hacked === undefined, document.querySelectorAll('img[src=x]').length]"
            ) == [True, 0]
        assert errors == []
        served = started.get("/llm/stats").json()
        assert MARKUP in served["info"]["model"]
        assert MARKUP.encode() not in started.get("/").content


def test_every_text_of_a_hostile_run_is_text(web: Any, browser: Any) -> None:
    """As above, with markup also where this package's own simulator has none: error messages, audit
    reasons, kinds.
    """
    started = web(SYNTHETIC, env={"HOSTILE": "1"})
    page = open_form(browser, started)
    start(page, numPrompts="5")
    page.get_by_role("tab", name="LLM").click()
    charts, errors = watch(browser, started)
    page.bring_to_front()
    page.get_by_role("button", name="Stop").click()
    page.locator("#llm-bar").get_by_text("CLIENT LIMITED").wait_for()
    charts.bring_to_front()
    charts.wait_for_selector("#verdict[data-kind=bad]")
    for one in (page, charts):
        assert "<script>window.hacked=1</script>" in one.locator("body").inner_text()
        assert one.evaluate(
            "[window.hacked === undefined, document.querySelectorAll('img[src=x]').length]"
        ) == [True, 0]
    assert errors == []


def test_pause_theme_and_phone(web: Any, browser: Any, shots: Any) -> None:
    started = web(SYNTHETIC)
    start(open_form(browser, started))
    charts, errors = watch(browser, started)
    charts.get_by_role("button", name="Pause").click()
    before = drawn(charts, "rates")
    charts.wait_for_timeout(2500)
    assert drawn(charts, "rates") == before
    charts.get_by_role("button", name="Resume").click()
    assert drawn(charts, "rates") > before
    assert charts.evaluate("document.documentElement.dataset.theme") == "light"
    charts.get_by_role("button", name="Dark").click()
    charts.reload()
    assert charts.evaluate("document.documentElement.dataset.theme") == "dark", "remembered"
    charts.set_viewport_size({"width": 360, "height": 740})
    until(charts, "() => document.getElementById('plot-e2el')?.data?.[0]?.y?.length >= 2")
    shots(charts, "phone")
    until(
        charts, "() => document.documentElement.scrollWidth <= 360"
    )  # nothing hangs over the side
    chosen = charts.get_by_label("Latency shown as distribution")
    chosen.select_option("ttft")
    assert (
        charts.evaluate("document.getElementById('plot-heat').layout.annotations[0].text")
        == "objective 150 ms"
    )
    assert errors == []


def test_the_form_has_groups_that_open(web: Any, browser: Any, shots: Any) -> None:
    started = web(SERVE, "--sim")
    page = open_form(browser, started)
    assert page.locator("[name=userCount]").is_hidden(), "the pool of users sizes itself"
    assert page.locator("[name=numPrompts]").is_visible()
    assert page.locator("[name=sonnetInputLen]").is_hidden()
    page.get_by_role("button", name=re.compile("sonnet dataset", re.I)).click()
    assert page.locator("[name=sonnetInputLen]").is_visible()
    assert page.locator("select[name=backend] option").count() > 5
    assert page.locator("[name=header]").get_attribute("type") == "password"
    shots(page, "form")
