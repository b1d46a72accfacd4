"""A stranger at the start form: where secrets go, where files go, and who may start a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.web.conftest import SERVE, SHORT, Web
from tests.web.hostile import Handler


class Noting(Handler):
    """Keeps the headers of all requests."""

    seen: list[dict[str, str]] = []

    def parse_request(self) -> bool:
        good = super().parse_request()
        self.seen.append({k.lower(): v for k, v in self.headers.items()})
        return good


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another server than that of the start."""
    Noting.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def swarm(web: Web, **fields: str) -> Any:
    form = {"user_count": "1", "spawn_rate": "1", **fields}
    return requests.post(web.url + "/swarm", form, timeout=60).json()


def until_state(web: Web, *states: str) -> dict[str, Any]:
    for _ in range(1200):
        shot: dict[str, Any] = web.get("/llm/stats").json()
        if shot["state"] in states:
            return shot
        time.sleep(0.1)
    raise AssertionError(shot["state"])


def test_secrets_stay_with_the_server_of_the_start(web: Any, elsewhere: str) -> None:
    with launch([]) as sim:
        started = web(
            SERVE, "--base-url", sim.url, "--model", "m", "--header", "X-Api=s3cret", *SHORT,
            env={"OPENAI_API_KEY": "sk-s3cret"},
        )  # fmt: skip
        refused = swarm(started, base_url=elsewhere, header="X-Api=***", num_prompts="3")
        assert refused["success"] is False
        assert "'X-Api' was given for http://127.0.0.1:" in refused["message"]
        assert Noting.seen == []
        assert swarm(started, base_url=elsewhere, header="X-Own=1", num_prompts="3")["success"]
        until_state(started, "finished", "failed")
        assert {seen["x-own"] for seen in Noting.seen if "x-own" in seen} == {"1"}
        assert "s3cret" not in str(Noting.seen)
        assert "OPENAI_API_KEY is not sent to" in started.log.read_text()


def test_one_run_at_a_time_and_files_stay_where_they_may(web: Any, tmp_path: Path) -> None:
    with launch([]) as sim:
        given = sim.url.replace("//", "//user:pa55@")
        started = web(SERVE, "--host", given, "--model", "m", *SHORT)
        refused = swarm(started, base_url=given.replace("user:pa55@127.0.0.1", "***@localhost"))
        assert refused["message"].endswith("has lost its user and password; give the whole URL")
        refused = swarm(started, per_request="/etc/requests.csv")
        assert refused["message"].startswith("--per-request: /etc/requests.csv is outside")
        refused = swarm(started, label="../../x")
        assert refused["message"].startswith("--label: '../../x' leaves the result directory")
        for field, value in (("html_file", "/tmp/x.html"), ("trust_remote_code", "true")):
            refused = swarm(started, **{field: value})
            assert refused["success"] is False
            assert refused["message"].endswith(": can be set only when llmbench is started")
        refused = swarm(started, system_prompt="/etc/passwd")
        assert refused["message"].startswith("--system-prompt: /etc/passwd is outside")
        assert swarm(started, num_prompts="1000", request_rate="5")["success"] is True
        second = swarm(started, num_prompts="7")
        assert second["success"] is False
        assert second["message"].startswith("a run is in progress; stop it")
        until_state(started, "running")
        for page in ("/", "/llm/stats", "/metrics", "/?tab=stats", "/stats/requests"):
            assert "pa55" not in started.get(page).text, page
        assert swarm(started, num_prompts="7")["success"] is False
        requests.post(started.url + "/stop", timeout=60)
        assert until_state(started, "finished", "failed")["info"]["num_prompts"] == 1000
        assert swarm(started, num_prompts="2", request_rate="50")["success"] is True
