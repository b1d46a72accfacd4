"""The whole way in a real browser: start form, live page, stop, downloads, a second run beside the
first; with workers; with a hostile server; on a phone; in the dark; without a mouse.
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
from axe_playwright_python.sync_playwright import Axe

from llmbench_locust.results.document import build_document
from llmbench_locust.results.html import report_html
from llmbench_locust.results.shown import Shown
from llmbench_locust.simulator.launch import launch
from tests.results.runs import finished
from tests.web.conftest import SERVE, SHORT, SYNTHETIC, Web, problems
from tests.web.hostile import MARKUP, hostile_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def open_form(browser: Any, web: Web) -> Any:
    page = browser.new_page()
    page.goto(web.url)
    page.locator("#plan[data-kind]").wait_for()
    return page


def start(page: Any, **fields: str) -> None:
    for name, value in fields.items():
        page.fill(f"#f-{name}", value)
    page.get_by_role("button", name="START", exact=True).click()


def again(page: Any, **fields: str) -> None:
    """A further run, from the live page through the form."""
    page.get_by_role("link", name="New run").click()
    page.locator("#plan[data-kind]").wait_for()
    start(page, **fields)


def wait_until_finished(page: Any) -> None:
    page.wait_for_url("**/llm*")
    page.locator("#state", has_text="finished").wait_for()


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait for a JavaScript function to be true. Playwright's own way evaluates in the page, which
    its policy forbids.
    """
    deadline = time.monotonic() + 120
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"never: {expression}"
        page.wait_for_timeout(100)


def cell(page: Any, table: str, title: str) -> str:
    """The first value of a table's row."""
    row = page.locator(f"#{table} tbody tr", has=page.locator("th", has_text=title))
    text: str = row.locator("td").first.inner_text()
    return text


def wait_for_requests(page: Any, least: int) -> None:
    """Until the live page is there and shows so many successful requests."""
    page.wait_for_url("**/llm*")
    until(
        page,
        """least => [...document.querySelectorAll("#summary tr")].some(row =>
               row.cells[0].textContent === "Successful requests"
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
    path.write_text(report_html(Shown.of(done, build_document(done))))
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".modebar-btn")
    assert toolbar(page) == TOOLBAR
    assert asked == [path.as_uri()]
    page.emulate_media(media="print")
    verdict = page.evaluate("getComputedStyle(document.querySelector('.bad')).color")
    assert verdict == "rgb(0, 0, 0)", "white text is lost on paper, where its background is not"


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
    """Form → run → page fills → stop → downloads. Leaves the page open."""
    page = open_form(browser, web)
    errors = problems(page)
    start(page, num_prompts="100000", request_rate="abc")
    page.locator("#plan", has_text="--request-rate: 'abc'").wait_for()
    assert page.evaluate("document.activeElement.id") == "f-request_rate"
    shots(page, "refused")
    page.fill("#o-ttft", "10000")
    start(page, num_prompts="900", request_rate="15")
    page.wait_for_url("**/llm")
    wait_for_requests(page, 20)
    late = browser.new_page()
    late.goto(web.url)
    assert late.url.endswith("/llm"), "during a run the first page is the live one"
    late.close()
    assert float(cell(page, "latency", "Time to first token (TTFT)")) > 0
    assert "measuring" in page.locator("#verdict").inner_text()
    assert re.match(r"\d+ of \d+", cell(page, "slo", "TTFT ≤ 10000 ms"))
    for chart in (
        "rates",
        "concurrency",
        "tokens",
        "ttft",
        "tpot",
        "itl",
        "e2el",
        "heat",
        "lag",
        "server",
        "kv",
    ):
        until(page, "id => document.getElementById(`plot-${id}`).data !== undefined", chart)
        assert drawn(page, chart) > 0, chart
    assert page.evaluate("document.getElementById('plot-ttft').layout.shapes.map(s => s.y0)") == [
        10000
    ]
    assert toolbar(page) == TOOLBAR
    shots(page, "running")
    page.get_by_role("button", name="Stop").click()
    wait_until_finished(page)
    document = check_downloads(page)
    shots(page, "finished")
    assert cell(page, "summary", "Successful requests").replace(",", "") == str(
        document["completed"]
    )
    assert document["completed"] >= 20
    limited = document["llmbench"]["audit"]["client_limited"]
    valid = document["llmbench"]["validity"]["valid"]
    shown = page.locator("#validity").inner_text()
    assert shown.startswith("Result: valid" if valid else "Result: NOT VALID (")
    verdict = "CLIENT LIMITED" if limited else "OK, the client kept up"
    assert verdict in page.locator("#verdict").inner_text()
    assert document["num_prompts"] == 900
    assert errors == []
    return document


def test_a_run_from_the_form_to_the_downloads_and_a_second_beside_it(
    web: Any, browser: Any, shots: Any
) -> None:
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, *SHORT)
        document = run_and_look(browser, started, shots)
        assert document["model_id"] == "sim"
        page = browser.pages[0]
        again(page, num_prompts="60", request_rate="inf")
        page.wait_for_url("**/llm")
        wait_for_requests(page, 60)
        wait_until_finished(page)
        assert cell(page, "summary", "Successful requests") == "60"
        page.get_by_label("compared with").select_option("1")
        page.wait_for_url("**/llm?run=2&compare=1")
        page.wait_for_selector("#differences tbody tr")
        for chart in ("rates", "ttft", "e2el", "heat", "lag", "server", "kv"):
            names = page.evaluate(
                "id => document.getElementById(`plot-${id}`).data.map(l => l.name)", chart
            )
            assert any("(run 1)" in (name or "") for name in names), chart
        assert "request rate differs" in page.locator("#notes").inner_text()
        assert "run 1: " in page.locator("#tiles").inner_text()
        shots(page, "compared")
        link = browser.new_page()  # someone else follows the link
        link.goto(f"{started.url}/llm?run=1")
        link.wait_for_selector("#downloads a")
        assert cell(link, "summary", "Successful requests") == str(document["completed"])
        assert json.loads(download(link, "result.json"))["completed"] == document["completed"]
        link.goto(f"{started.url}/llm?run=9")
        link.locator("#state", has_text="Run 9 is not among the last runs").wait_for()


@pytest.mark.cluster
def test_the_same_with_two_workers(web: Any, browser: Any, shots: Any) -> None:
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, *SHORT, workers=2)
        document = run_and_look(browser, started, shots)
        assert len(document["llmbench"]["workers"]) == 2
        page = browser.pages[0]
        page.get_by_role("link", name="Workers").click()
        page.get_by_text("CPU usage").wait_for()


SLOW_STOP = """
import os
import gevent
from locust import events
from locust.runners import WorkerRunner

@events.test_stopping.add_listener
def dawdle(environment, **_):
    while isinstance(environment.runner, WorkerRunner) and not os.path.exists("go-on"):
        gevent.sleep(0.1)
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
        live = open_form(browser, started)
        start(live, num_prompts="900", request_rate="15")
        wait_for_requests(live, 5)
        page = browser.new_page()
        page.goto(f"{started.url}/?tab=stats")
        page.get_by_role("button", name="Stop").click()
        page.wait_for_timeout(4500)  # more than one of its polls, which come every two seconds
        assert page.get_by_role("button", name="Loading").is_visible()
        late = browser.new_page()
        late.goto(f"{started.url}/?tab=stats")
        late.get_by_role("button", name="Stop").wait_for()
        (tmp_path / "go-on").touch()
        for one in (page, late):
            one.bring_to_front()
            one.get_by_role("button", name="New").wait_for()
        page.get_by_role("button", name="New").click()
        page.get_by_role("button", name="START").wait_for()
        late.get_by_role("tab", name="LLM").click()
        wait_until_finished(late)


def test_a_hostile_server_puts_text_on_the_pages_and_no_markup(
    web: Any, browser: Any, shots: Any
) -> None:
    with hostile_server() as url:
        started = web(
            SERVE, "--base-url", url, "--ready-check-timeout-sec", "0", "--save-detailed", *SHORT
        )
        page = open_form(browser, started)
        start(page, num_prompts="60", request_rate="20")
        page.wait_for_url("**/llm")
        wait_until_finished(page)
        page.goto(f"{started.url}/?tab=stats")
        charts, errors = watch(browser, started)
        charts.wait_for_selector("#downloads a")
        assert MARKUP in charts.locator("#what").inner_text()
        assert MARKUP in charts.locator("#errors").inner_text()
        for tab in ("Failures", "Logs"):
            page.get_by_role("tab", name=tab).click()
        report = browser.new_page()
        report.set_content(download(charts, "report.html").decode(), wait_until="load")
        shots(charts, "charts")
        shots(report, "report")
        for one in (page, charts, report):
            assert one.evaluate(
                "[window.hacked === undefined, document.querySelectorAll('img[src=x]').length]"
            ) == [True, 0]
        assert errors == []
        served = started.get("/llm/stats").json()
        assert MARKUP in served["info"]["model"]
        for path in ("/", "/?tab=stats"):
            assert MARKUP.encode() not in started.get(path).content


def test_every_text_of_a_hostile_run_is_text(web: Any, browser: Any) -> None:
    """As above, with markup also where this package's own simulator has none: error messages, audit
    reasons, kinds.
    """
    started = web(SYNTHETIC, env={"HOSTILE": "1"})
    start(open_form(browser, started))
    charts, errors = watch(browser, started)
    charts.get_by_role("button", name="Stop").click()
    charts.wait_for_selector("#verdict[data-kind=bad]")
    assert "<script>window.hacked=1</script>" in charts.locator("body").inner_text()
    late = [charts.locator(at).inner_text().count("12 ms late") for at in ("#validity", "#verdict")]
    assert late == [1, 0]  # why the client was the limit stands there once
    assert charts.evaluate(
        "[window.hacked === undefined, document.querySelectorAll('img[src=x]').length]"
    ) == [True, 0]
    assert errors == []


def test_why_a_run_could_not_begin_stands_on_the_page(web: Any, browser: Any) -> None:
    with launch(["--api-key", "k"]) as sim:
        started = web(SERVE, "--base-url", sim.url, "--model", "sim", *SHORT)
        page = open_form(browser, started)
        start(page)
        page.wait_for_url("**/llm*")
        said = page.locator("#message", has_text="answered 401")
        said.wait_for()
        url = f"{sim.url}/v1/completions"
        assert said.inner_text().startswith(f"{url} answered 401: Unauthorized. ")


def test_pause_theme_and_phone(web: Any, browser: Any, shots: Any) -> None:
    started = web(SYNTHETIC)
    start(open_form(browser, started))
    charts, errors = watch(browser, started)
    charts.get_by_role("button", name="Pause").click()
    before = drawn(charts, "rates")
    charts.wait_for_timeout(2500)
    assert drawn(charts, "rates") == before
    charts.get_by_role("button", name="Resume").click()
    while drawn(charts, "rates") <= before:
        charts.wait_for_timeout(100)
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


def test_the_form_shows_what_matters_and_finds_the_rest(web: Any, browser: Any, shots: Any) -> None:
    started = web(SERVE, "--sim", "--goodput", "ttft:300", "--seed", "7")
    page = open_form(browser, started)
    errors = problems(page)
    assert page.locator("#plan").inner_text() == (
        "About 700 requests over 70\xa0s, to the built-in simulator."
    )
    assert page.get_by_role("button", name="START").is_visible()
    for name in ("base_url", "model", "backend", "dataset_name", "input_len", "output_len",
                 "request_rate", "num_prompts", "duration", "max_concurrency"):  # fmt: skip
        assert page.locator(f"#f-{name}").is_visible(), name
    assert page.input_value("#o-ttft") == "300"
    assert page.locator("#f-output_len").get_attribute("placeholder") == "128"
    page.fill("#find", "random output len")
    page.fill("#f-random_output_len", "9")
    page.fill("#find", "")
    assert page.locator("#f-output_len").get_attribute("placeholder") == "9"
    assert page.locator("#f-dataset_path").is_hidden(), "random has no file"
    page.select_option("#f-dataset_name", "sharegpt")
    assert page.locator("#f-dataset_path").is_visible()
    page.locator("#plan", has_text="--dataset-path").wait_for()
    page.select_option("#f-dataset_name", "random")
    assert page.locator("#f-seed").is_hidden()
    page.fill("#find", "sonnet prefix")
    assert page.locator("#found").inner_text() == "1 found"
    assert page.locator("#f-sonnet_prefix_len").is_visible()
    assert (
        "Input tokens that all prompts share"
        in page.locator("#help-sonnet_prefix_len").inner_text()
    )
    page.fill("#find", "")
    assert page.locator("#f-header").get_attribute("type") == "password"
    page.fill("#f-duration", "20")
    page.locator("#plan", has_text="About 200 requests over 20").wait_for()
    assert page.locator("#f-num_prompts").is_disabled()
    assert "%%" not in page.content()
    shots(page, "form")
    assert errors == []


def test_the_field_of_a_bad_value_is_marked_also_for_those_who_hear_the_page(
    web: Any, browser: Any
) -> None:
    page = open_form(browser, web(SERVE, "--sim"))
    for field, text in (("f-request_rate", "abc"), ("o-ttft", "abc")):
        before = page.input_value(f"#{field}")
        page.fill(f"#{field}", text)
        page.locator("#plan", has_text="'abc' is not a number").wait_for()
        assert page.get_attribute(f"#{field}", "aria-invalid") == "true"
        assert page.get_attribute("#f-num_prompts", "aria-invalid") == "false"
        page.locator("#find").focus()
        page.get_by_role("button", name="START", exact=True).click()
        until(page, "id => document.activeElement.id === id", field)
        page.fill(f"#{field}", before)
        page.locator("#plan[data-kind=good]").wait_for()


def test_what_has_the_focus_is_not_below_the_bars(web: Any, browser: Any) -> None:
    page = open_form(browser, web(SERVE, "--sim"))
    page.set_viewport_size({"width": 1280, "height": 720})
    while page.evaluate("document.activeElement.id") != "start":
        page.keyboard.press("Tab")
        below = page.evaluate(
            """() => {
                const [focus, header, bar] = [document.activeElement, ...document.querySelectorAll("header, .go")];
                const [at, top, end] = [focus, header, bar].map((e) => e.getBoundingClientRect());
                return !header.contains(focus) && !bar.contains(focus)
                    && (at.top < top.bottom - 1 || at.bottom > end.top + 1);
            }"""  # noqa: E501
        )
        assert not below, page.evaluate("document.activeElement.outerHTML")


def test_a_form_that_comes_back_can_be_started(web: Any, browser: Any) -> None:
    """Firefox, Safari and Chrome keep the page as it was left, with START pressed."""
    page = open_form(browser, web(SERVE, "--sim"))
    page.evaluate(
        """() => {
            document.getElementById("start").disabled = true;
            window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
        }"""
    )
    page.locator("#start:enabled").wait_for()


def test_a_link_to_a_run_that_is_gone_says_so_and_leads_on(web: Any, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{web(SERVE, '--sim').url}/llm?run=9")
    page.locator("#state", has_text="Run 9 is not among the last runs").wait_for()
    assert page.locator("#tables").is_hidden()
    page.get_by_role("link", name="New run").click()
    page.locator("#plan[data-kind]").wait_for()


def test_an_embeddings_run_shows_no_output_tokens(web: Any, browser: Any) -> None:
    words = ("--backend", "openai-embeddings", "--tokenizer", SHORT[1])
    page = open_form(browser, web(SERVE, "--sim", *words))
    errors = problems(page)
    start(page, num_prompts="30", request_rate="20", input_len="16")
    wait_until_finished(page)
    page.locator("#tiles", has_text="E2EL P50").wait_for()
    shown = page.locator("main").inner_text()
    assert "Output tok" not in shown
    assert "generated tokens" not in shown
    assert page.locator("#card-rates").is_visible()
    assert page.locator("#card-tokens").is_hidden()
    ticks = page.evaluate("document.getElementById('plot-heat').layout.yaxis.tickformat")
    assert ticks == "~g", "20 and not 2 between 10 and 100"
    assert errors == []


def test_a_finished_run_stands_still(web: Any, browser: Any) -> None:
    """A selection or a tooltip stays, and no screen reader speaks every second."""
    page = open_form(browser, web(SERVE, "--sim", *SHORT))
    start(page, num_prompts="20", request_rate="20")
    wait_until_finished(page)
    page.locator("#downloads a").first.wait_for()
    page.wait_for_timeout(3000)
    changes = page.evaluate(
        """() => new Promise((done) => {
            let count = 0;
            const watcher = new MutationObserver((found) => { count += found.length; });
            watcher.observe(document.body, { childList: true, subtree: true, characterData: true });
            setTimeout(() => done(count), 3500);
        })"""
    )
    assert changes == 0


def test_a_capacity_is_searched_from_the_form_to_the_answer(
    web: Any, browser: Any, shots: Any
) -> None:
    """A busy machine may make the client the limit: that is an answer, too."""
    with launch(["--step-ms", "2", "--max-num-seqs", "2"]) as sim:
        words = ("--base-url", sim.url, *SHORT, "--goodput", "ttft:50", "--attainment", "0.9")
        started = web(SERVE, *words, "--budget", "8s", "--probe-time", "0.5", "--min", "8")
        page = open_form(browser, started)
        errors = problems(page)
        page.fill("#find", "search for the largest")
        page.check("#f-capacity")
        page.locator("#plan", has_text="A search for the capacity").wait_for()
        assert page.locator("#f-request_rate").is_disabled(), "the search sets it"
        start(page)
        link = page.locator("#search", has_text=re.compile("^(No c|C)apacity"))
        link.wait_for()
        deadline = time.monotonic() + 120
        while started.get("/llm/capacity?format=json").json()["going_on"]:
            assert time.monotonic() < deadline
            page.wait_for_timeout(200)
        link.click()
        page.wait_for_selector(".js-plotly-plot")
        assert page.locator("table tr").count() > 1
        assert "apacity" in page.locator("pre").inner_text()
        shots(page, "search")
        assert errors == []


def test_the_form_remembers_all_but_secrets(web: Any, browser: Any) -> None:
    started = web(SYNTHETIC)
    page = browser.new_page()
    page.goto(started.url)
    kept = {"request_rate": "3", "header": "A=hush", "seed": "9", "model": "m"}
    page.evaluate("text => localStorage.setItem('llmbench-form', text)", json.dumps(kept))
    serve = web(SERVE, "--sim", "--seed", "7")
    page.goto(serve.url)  # another origin: another memory
    page.locator("#plan[data-kind]").wait_for()
    assert page.input_value("#f-request_rate") == "10"
    page.evaluate("text => localStorage.setItem('llmbench-form', text)", json.dumps(kept))
    page.reload()
    page.locator("#plan", has_text="over 233").wait_for()
    assert page.input_value("#f-model") == "m"
    assert page.input_value("#f-seed") == "7", "the command line comes before memory"
    assert page.input_value("#f-header") == "", "not even when it was stored"
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.fill("#f-header", "A=hush")
    start(page, num_prompts="1")
    page.wait_for_url("**/llm")
    stored = page.evaluate("localStorage.getItem('llmbench-form')")
    assert "hush" not in stored
    assert json.loads(stored)["num_prompts"] == "1"


def test_nothing_serious_for_axe_and_a_keyboard_is_enough(
    web: Any, browser: Any, shots: Any
) -> None:
    started = web(SYNTHETIC)
    page = open_form(browser, started)
    check_accessibility(page)
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "start":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/llm")
    until(page, "() => document.getElementById('plot-e2el')?.data?.[0]?.y?.length >= 2")
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        check_accessibility(page)
    reached = []
    page.locator("body").focus()
    while not reached or page.evaluate("document.activeElement.className") != "skip":
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        assert len(reached) < 40
    assert {"pause", "stop", "theme"} <= set(reached)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "tables", "past the charts in one step"


def check_accessibility(page: Any) -> None:
    """axe-core finds nothing serious."""
    found = Axe().run(page).response["violations"]
    bad = [
        (v["id"], v["nodes"][0]["html"][:200])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert bad == []
