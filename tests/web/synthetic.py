"""A locustfile for the tests of the web part alone: Locust's real web UI, and live statistics that
are fed with a made-up run.

HOSTILE=1 puts markup into every text that would come from a server. LOGIN=1 sets up Locust's login
(user "u", password "p").
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import Any

import gevent
import numpy as np
from flask import redirect, request
from flask_login import UserMixin, login_user
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser

from llmbench_locust.errors import ConfigError
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.web.plugin import install_web

MARK = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    if os.environ.get("HOSTILE")
    else ""
)
live = LiveStats({"ttft": 150.0, "e2el": 1500.0}, (50.0, 90.0, 99.0))


LATE = f"the event loop ran 12 ms late{MARK}"
LIMITED = {
    "reason": "client_limited",
    "text": f"The client was the limit: {LATE}.",
    "what_to_do": "What to do: add workers.",
}


class Done:
    document = {
        "llmbench": {"validity": {"valid": False, "reasons": [LIMITED], "warnings": []}},
        "completed": 30,
        "failed": 3,
        "duration": 3.0,
        "backend": "openai",
        "model_id": f"org/m{MARK}",
        "date": "20260101-000000",
    }

    def report_html(self) -> str:
        return "<!doctype html><title>report</title>"

    def table_csv(self) -> bytes:
        return b"index,success\n0,True\n"

    def table_parquet(self) -> bytes:
        return b"PAR1....PAR1"


class Nobody(User):
    @task
    def wait(self) -> None:
        gevent.sleep(1)


@events.init_command_line_parser.add_listener
def flags(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--num-prompts", default="1000", include_in_web_ui=True, help="Number of prompts"
    )


class Made:
    """What the page needs of a benchmark."""

    live = live
    open_loop = False
    fixed: tuple[str, ...] = ()

    @property
    def report(self) -> Done | None:
        return Done() if live.state == "finished" else None

    def plan(self, form: dict[str, Any]) -> str:
        if not str(form.get("num_prompts") or 1).isdigit():
            raise ConfigError(
                f"--num-prompts: {form['num_prompts']!r} is no whole number; allowed: 1 or more"
            )
        return "A made-up run."

    def until_ended(self) -> bool:
        return True

    def stop(self) -> None:
        pass


@events.init.add_listener
def init(environment: Any, web_ui: Any, **_: Any) -> None:
    install_web(environment, Made())
    if os.environ.get("LOGIN"):
        login(web_ui)


def login(web_ui: Any) -> None:
    class Person(UserMixin):
        def get_id(self) -> str:
            return "u"

    web_ui.app.secret_key = "for this test only"
    web_ui.login_manager.user_loader(lambda name: Person())
    web_ui.auth_args = {"username_password_callback": "/enter"}

    @web_ui.app.route("/enter", methods=["POST"])
    def enter() -> Any:
        if (request.form["username"], request.form["password"]) == ("u", "p"):
            login_user(Person())
        return redirect("/")


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    gevent.spawn(feed, environment)


@events.test_stop.add_listener
def stop(environment: Any, **_: Any) -> None:
    live.finish(Done.document, {"client_limited": True, "reasons": [LATE]})


def feed(environment: Any) -> None:
    live.reset(
        {
            "model": f"org/m{MARK}",
            "backend": "openai",
            "dataset": "random",
            "request_rate": float("inf"),
        }
    )
    live.begin()
    begin = perf_counter()
    random = np.random.default_rng(0)
    sent = 0
    live.counters({"start_s": begin})
    while live.state == "running":
        gevent.sleep(0.1)
        now = perf_counter()
        sent += 3
        records = []
        for i in range(2):
            first = now - 1.0 + random.gamma(4, 0.03)
            times = first + np.cumsum(random.gamma(8, 0.002, 30))
            records.append(
                RequestRecord(
                    sent + i, success=True, prompt_len=50, output_len=30, due_time=now - 1,
                    start_time=now - 1,
                    first_token_time=first, end_time=float(times[-1]), token_times=times,
                )
            )  # fmt: skip
        if sent % 9 == 0:
            records.append(
                RequestRecord(
                    sent,
                    error_kind="http_500",
                    error=f"broken{MARK}",
                    start_time=now - 1,
                    end_time=now,
                )
            )
        live.add(RecordColumns.from_records(records))
        live.counters(
            {
                "offered": sent, "sent": sent, "completed": sent, "in_flight": 20 + sent % 5,
                "waiting": 3,
                "token_events": sent * 19,
                "ttft_ms": [
                    (r.first_token_time - r.start_time) * 1000 for r in records if r.success
                ],
                "send_lag_ms": random.gamma(2, 0.1, 5).tolist(), "loop_lag_ms": random.gamma(2,
                0.2, 5).tolist(),
                "cpu": {"worker 1": 0.42, "master": 0.1},
            }
        )  # fmt: skip
