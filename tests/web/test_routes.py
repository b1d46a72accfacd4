"""Routes over real HTTP: the login, types, escapes, Prometheus, the check of the form, names of
downloads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.simulator.launch import launch
from llmbench_locust.web.history import DOWNLOADS, file_name
from llmbench_locust.web.plugin import STATIC, plotly_path
from llmbench_locust.web.prometheus import registry_of
from tests.commands import free_port
from tests.web.conftest import ROOT, SERVE, SHORT, SYNTHETIC, TOKENIZER, Web

ROUTES = [
    "/llm",
    "/llm/stats",
    "/llm/static/llm.js",
    "/llm/plotly.min.js",
    "/metrics",
    *(f"/llm/{n}" for n in DOWNLOADS),
]


def wait_for_workers(web: Web, count: int) -> None:
    """Until so many are ready: after a test, Locust's workers stay away for --stop-timeout."""
    for _ in range(1200):
        workers = web.get("/stats/requests").json()["workers"]
        if sum(worker["state"] == "ready" for worker in workers) == count:
            return
        time.sleep(0.1)
    raise AssertionError(f"not ready: {workers}")


def until(web: Web, least: int, run: int = 1) -> dict[str, Any]:
    """The first snapshot of a run with so many requests."""
    for _ in range(1200):
        shot: dict[str, Any] = web.get("/llm/stats").json()
        if shot["run"] >= run and shot["totals"]["completed"] >= least:
            return shot
        time.sleep(0.1)
    raise AssertionError(f"no requests: {shot}")


def test_a_run_over_http(web: Any) -> None:
    started = web(SYNTHETIC)
    for name in DOWNLOADS:
        assert started.get(f"/llm/{name}").status_code == 404, "nothing to download yet"
    answer = requests.post(
        started.url + "/swarm", {"user_count": 1, "spawn_rate": 1, "num_prompts": "abc"}, timeout=30
    )
    assert answer.json()["success"] is False
    assert answer.json()["message"] == "--num-prompts: 'abc' is no whole number; allowed: 1 or more"
    assert (
        requests.post(
            started.url + "/swarm", {"user_count": 1, "spawn_rate": 1}, timeout=30
        ).json()["success"]
        is True
    )
    shot = until(started, 10)
    assert started.get("/llm/stats").headers["Content-Type"] == "application/json"
    later = started.get(f"/llm/stats?since={shot['version']}").json()
    assert len(later["series"]["index"]) < 20
    assert started.get("/llm/stats?since=nonsense").status_code == 200
    metrics(started.get("/metrics"))
    requests.post(started.url + "/stop", timeout=60)
    done = started.get("/llm/stats").json()
    assert done["state"] == "finished"
    assert done["series"]["index"]
    again = started.get(f"/llm/stats?since={done['version']}").json()
    assert again["series"]["index"] == [], "an open page does not load all of it every second"
    assert done["downloads"] == list(DOWNLOADS)
    for name, (_, kind, _make) in DOWNLOADS.items():
        answer = started.get(f"/llm/{name}")
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert started.get("/llm/stats?run=1").json()["runs"] == done["runs"]
    assert [row["run"] for row in done["runs"]] == [1]
    for gone in ("stats?run=9", "differences?run=1&compare=9", "report.html?run=9"):
        assert started.get(f"/llm/{gone}").status_code == 404
    assert started.get("/llm/static/../plugin.py").status_code == 404


def metrics(answer: requests.Response) -> None:
    families = {f.name: f for f in text_string_to_metric_families(answer.text)}
    outcomes = {s.labels["outcome"]: s.value for s in families["llmbench_requests"].samples}
    assert outcomes["success"] >= 10
    assert set(outcomes) <= {"success", "http_500"}
    tokens = families["llmbench_generation_tokens"].samples[0].value
    assert tokens == 30 * outcomes["success"], "each made-up answer has 30 tokens"
    for name, count in (
        ("e2e_request_latency", outcomes["success"]),
        ("inter_token_latency", 29 * outcomes["success"]),
    ):
        samples = families[f"llmbench_{name}_seconds"].samples
        buckets = [s.value for s in samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets), "cumulative"
        assert buckets[-1] == count == next(s.value for s in samples if s.name.endswith("_count"))
    assert {s.labels["process"] for s in families["llmbench_process_cpu_ratio"].samples} == {
        "worker 1",
        "master",
    }


def test_locusts_login_stands_before_every_route(web: Any) -> None:
    started = web(SYNTHETIC, "--web-login", env={"LOGIN": "1"})
    for route in ROUTES:
        answer = started.get(route, allow_redirects=False)
        assert (answer.status_code, "/login" in answer.headers.get("Location", "")) == (
            302,
            True,
        ), route
    refused = requests.post(
        started.url + "/swarm", {"num_prompts": "abc"}, timeout=30, allow_redirects=False
    )
    assert refused.status_code == 302, "the form's check tells a stranger nothing"
    plan = requests.post(started.url + "/llm/plan", timeout=30, allow_redirects=False)
    assert plan.status_code == 302
    with requests.Session() as session:
        session.post(started.url + "/enter", {"username": "u", "password": "p"}, timeout=60)
        for route in ROUTES:
            assert session.get(started.url + route, timeout=60).status_code == (
                404 if route[5:] in DOWNLOADS else 200
            ), route
        answer = session.post(started.url + "/swarm", {"num_prompts": "abc"}, timeout=60)
        assert answer.json()["message"].startswith("--num-prompts: 'abc'")


def test_our_routes_only_read(web: Any) -> None:
    started = web(SYNTHETIC)
    for route in ROUTES:
        for method in ("post", "put", "delete", "patch"):
            assert requests.request(method, started.url + route, timeout=60).status_code == 405, (
                method,
                route,
            )


def test_under_a_base_path(web: Any) -> None:
    started = web(SYNTHETIC, "--web-base-path", "/load")
    assert started.get("/load/llm").status_code == 200
    assert started.get("/load/llm/stats").json()["state"] == "idle"
    assert "./llm/static/form.js" in started.get("/load/").text
    assert "./llm/static/locust.js" in started.get("/load/?tab=stats").text


def test_bad_values_of_the_real_form_get_the_console_line(web: Any) -> None:
    started = web(SERVE, "--sim")
    for field, value in (
        ("request_rate", "fast"),
        ("num_prompts", "0"),
        ("goodput", "ttft"),
        ("max_concurrency", "-1"),
    ):
        answer = requests.post(
            started.url + "/swarm", {"user_count": "1", "spawn_rate": "1", field: value}, timeout=30
        )
        assert answer.status_code == 200
        assert answer.json()["success"] is False
        line = answer.json()["message"]
        assert line.startswith("--" + field.replace("_", "-"))
        assert "\n" not in line
    assert started.get("/llm/stats").json()["state"] == "idle"


def test_a_run_that_cannot_begin_says_why(web: Any) -> None:
    started = web(
        SERVE,
        "--base-url",
        "http://127.0.0.1:9",
        "--ready-check-timeout-sec",
        "1",
        "--model",
        "m",
        *SHORT,
    )
    form = {"user_count": "1", "spawn_rate": "1", "num_prompts": "5"}
    assert requests.post(started.url + "/swarm", form, timeout=60).json()["success"] is True
    for _ in range(1200):
        shot = started.get("/llm/stats").json()
        if shot["state"] == "failed":
            break
        time.sleep(0.1)
    assert shot["state"] == "failed"
    assert shot["message"].endswith("(--ready-check-timeout-sec): connection refused")
    assert started.get("/stats/requests").json()["state"] in ("ready", "stopped", "cleanup")


def test_a_wrong_model_ends_a_run_of_the_page_at_once_with_the_cause(web: Any) -> None:
    """Also after a run that went well, whose figures must not hide it."""
    with launch(["--model", "the/model", "--strict-model"]) as sim:
        started = web(SERVE, "--base-url", sim.url, *SHORT)
        for model, state in (("the/model", "finished"), ("wrong", "failed")):
            form = {"user_count": "1", "spawn_rate": "1", "num_prompts": "5", "model": model}
            assert requests.post(started.url + "/swarm", form, timeout=60).json()["success"] is True
            assert started.get("/llm/stats").json()["state"] != "finished", "of the run before"
            for _ in range(1200):
                shot = started.get("/llm/stats").json()
                if shot["state"] == state:
                    break
                time.sleep(0.1)
        assert "The model `wrong` does not exist.  The server has: the/model" in shot["message"]


def read_by_somebody(path: Path) -> int:
    """The writing end of a pipe, once its reader waits."""
    for _ in range(1200):
        with contextlib.suppress(OSError):
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.1)
    raise AssertionError(f"nobody reads {path}")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.cluster)])
def test_a_run_can_be_called_off_while_it_is_prepared(
    web: Any, workers: int, tmp_path: Path
) -> None:
    """It reads its prompts from a pipe into which nobody writes."""
    os.mkfifo(tmp_path / "prompts.jsonl")
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, *SHORT, workers=workers)

        def swarm(**more: str) -> None:
            form = {"user_count": "1", "spawn_rate": "1", **more}
            assert requests.post(started.url + "/swarm", form, timeout=60).json()["success"] is True

        swarm(dataset_name="custom", dataset_path="prompts.jsonl")
        pipe = read_by_somebody(tmp_path / "prompts.jsonl")
        assert started.get("/llm/stats").json()["state"] == "preparing"
        assert started.get("/stats/requests").json()["state"] == "spawning", (
            "else Locust's page goes back to its form"
        )
        assert '"state": "spawning"' in started.get("/?tab=stats").text
        assert started.get("/", allow_redirects=False).headers["Location"] == "./llm"
        requests.post(started.url + "/stop", timeout=60)
        shot = started.get("/llm/stats").json()
        assert (shot["state"], shot["message"]) == (
            "failed",
            "interrupted before the first request was sent",
        )
        os.close(pipe)
        swarm(num_prompts="20", dataset_name="random", dataset_path="")
        for _ in range(1200):
            shot = started.get("/llm/stats").json()
            if shot["state"] == "finished":
                break
            time.sleep(0.1)
        assert shot["totals"]["completed"] == 20


@pytest.mark.cluster
def test_a_run_that_is_started_as_soon_as_the_last_one_has_finished_runs(web: Any) -> None:
    """Locust's master takes a second more to end the test, and would ignore the start."""
    with launch([]) as sim:
        started = web(SERVE, "--base-url", sim.url, *SHORT, workers=1)
        for run in (1, 2, 3):
            form = {"user_count": "1", "spawn_rate": "1", "num_prompts": str(run)}
            answer = requests.post(started.url + "/swarm", form, timeout=60).json()
            assert answer["success"] is True, answer
            for _ in range(1200):
                shot = started.get("/llm/stats").json()
                if (shot["run"], shot["state"]) == (run, "finished"):
                    break
                time.sleep(0.05)
            assert (shot["state"], shot["totals"]["completed"]) == ("finished", run)


@pytest.mark.cluster
def test_a_run_that_waits_for_its_server_can_be_stopped(web: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"  # nobody listens
    started = web(SERVE, "--base-url", url, "--model", "m", *SHORT, workers=1)
    form = {"user_count": "1", "spawn_rate": "1", "num_prompts": "5"}
    assert requests.post(started.url + "/swarm", form, timeout=60).json()["success"] is True
    for _ in range(1200):
        shot = started.get("/llm/stats").json()
        if shot["state"] == "waiting":
            break
        time.sleep(0.1)
    assert shot["message"].startswith(f"Waiting for {url} (")
    assert shot["message"].endswith("connection refused")
    assert started.get("/stats/requests").json()["state"] == "spawning"
    requests.post(started.url + "/stop", timeout=60)
    assert started.get("/llm/stats").json()["state"] == "failed"


@pytest.mark.cluster
def test_two_closed_loops_in_a_row_are_live_and_keep_their_own_requests(web: Any) -> None:
    slow = ["--clock", "fixed", "--ttft-ms", "100", "--itl-ms", "20"]
    with launch(slow) as sim:
        started = web(
            ROOT / "locustfiles" / "chat_closed_loop.py",
            *("--base-url", sim.url, "--tokenizer", str(TOKENIZER), "--stop-timeout", "5"),
            workers=2,
        )
        before = 0
        for run in (1, 2):
            wait_for_workers(started, 2)
            form = {"user_count": "6", "spawn_rate": "6"}
            assert requests.post(started.url + "/swarm", form, timeout=60).json()["success"] is True
            shot = until(started, 6, run=run)
            assert sum(v or 0 for v in shot["series"]["sent"]) > 0
            assert sum(v or 0 for v in shot["series"]["tokens"]) > 0
            requests.post(started.url + "/stop", timeout=60)
            done = started.get("/llm/stats").json()
            assert (done["state"], done["downloads"]) == ("finished", list(DOWNLOADS))
            assert started.get("/stats/requests").json()["state"] == "stopped"
            seen = requests.get(f"{sim.url}/sim/stats", timeout=60).json()["requests"]
            ready_check = 1
            mine = seen[before + ready_check :]
            found = started.get("/llm/result.json").json()
            assert (found["failed"], found["llmbench"]["cut_off_requests"]) == (0, 0)
            assert found["completed"] == len(mine)
            assert found["total_input_tokens"] == sum(one["prompt_tokens"] for one in mine)
            assert found["total_output_tokens"] == sum(one["sent_tokens"] for one in mine)
            before = len(seen)


def test_plotly_is_the_installed_packages() -> None:
    assert plotly_path().stat().st_size > 1_000_000
    (wanted,) = (line for line in requires("llmbench-locust") or () if line.startswith("plotly"))
    assert "<" in wanted, "another major version may bring another toolbar"
    for page in (*STATIC.iterdir(), *(STATIC.parent / "templates").iterdir()):
        text = page.read_text()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "//cdn",
            "https://",
        ):
            assert way not in text, (page.name, way)


@given(
    st.dictionaries(st.sampled_from(["backend", "model_id", "date"]), st.text()),
    st.sampled_from(list(DOWNLOADS)),
)
@settings(deadline=None)
def test_a_downloads_name_is_plain(document: dict[str, str], name: str) -> None:
    made = file_name(document, name)
    assert Path(made).name == made
    assert made.endswith("." + name.partition(".")[2])
    assert all(c.isascii() and (c.isalnum() or c in "._-") for c in made)
    assert len(made) < 200


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    live = LiveStats({"ttft": 1.0}, (50.0,))
    live.reset({})
    live.begin()
    record = RequestRecord(
        0,
        success=True,
        start_time=1.0,
        first_token_time=1.1,
        end_time=1.2,
        token_times=np.array([1.1, 1.2]),
    )
    live.add(RecordColumns.from_records([record]))
    live.counters(
        {"sent": 1, "send_lag_ms": [1.0], "loop_lag_ms": [1.0], "cpu": {"master": 0.1}}, now_s=1.0
    )
    text = generate_latest(registry_of(live)).decode()
    known = {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }
    dashboard = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    asked = {
        m
        for p in dashboard["panels"]
        for t in p["targets"]
        for m in re.findall(r"llmbench_\w+", t["expr"])
    }
    assert len(asked) > 10
    assert asked <= known
    documented = set(re.findall(r"`(llmbench_\w+)", (ROOT / "docs" / "web.md").read_text()))
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in known}
    assert families - documented == set(), "every metric stands in docs/web.md"
    assert documented - families <= {"llmbench_client_limited"}, "known once a run is over"


def test_every_field_of_a_snapshot_stands_in_the_documentation() -> None:
    text = (ROOT / "docs" / "web.md").read_text()
    snapshot = LiveStats({}, (50.0,)).snapshot()
    for field in [*snapshot, *(k for k in snapshot["series"] if not re.search("lag_", k))]:
        assert f"`{field}`" in text, field
