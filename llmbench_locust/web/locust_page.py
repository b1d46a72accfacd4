"""Extends Locust's own page: a tab with our page, links to the downloads, the right state.

Ours stands at / and /llm; Locust's is at /?tab=stats (failures, log, workers, …).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import orjson
from flask import Response, redirect, request

from llmbench_locust.locust_types import WebUI
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.web.history import DOWNLOADS
from llmbench_locust.web.results import Bench
from llmbench_locust.web.start_form import SWARM

TAB = {"title": "LLM", "key": "llm"}
_SCRIPT = b'<script src="./llm/static/locust.js" defer></script>'
_INDEX = "locust.index"

#: States of a run that has begun or is about to.
GOING = ("preparing", "waiting", "running")
#: Locust's states between Stop and the end of the last user: the master waits for its workers, a
#: single process for its users.
_ENDING = ("stopping", "cleanup")


def install(web_ui: WebUI, bench: Bench, front: Callable[[], Response]) -> None:
    """Make ``front()`` the first page, and extend Locust's."""
    arguments = web_ui.template_args
    arguments.setdefault("extended_tabs", []).append(TAB)
    links = arguments.setdefault("extended_csv_files", [])
    links.append({"href": "./llm/capacity", "title": "LLM: capacity search"})
    links += [
        {"href": f"./llm/{name}", "title": f"LLM: {download.title}"}
        for name, download in DOWNLOADS.items()
    ]
    live = bench.live
    _know_the_state(web_ui, live)
    _stand_first(web_ui, live, front)

    @web_ui.app.after_request
    def extend(response: Response) -> Response:
        if response.status_code != 200 or response.direct_passthrough:
            return response
        if request.endpoint in _EXTENDED:
            response.set_data(_EXTENDED[request.endpoint](response.get_data(), live))
        if request.endpoint == "locust.stop" and _beginning(live, web_ui.environment.runner.state):
            bench.stop()  # Locust's master stops nothing before its runner has started
        return response


def _stand_first(web_ui: WebUI, live: LiveStats, front: Callable[[], Response]) -> None:
    if web_ui.userclass_picker_is_active:
        return  # only Locust's form can choose users
    locusts = web_ui.app.view_functions[_INDEX]

    @web_ui.auth_required_if_enabled
    def index() -> Response:
        tab = request.args.get("tab", TAB["key"])
        if tab != TAB["key"]:
            return cast(Response, locusts())
        if live.state in GOING or "tab" in request.args:
            return cast(Response, redirect("./llm"))
        return front()

    web_ui.app.view_functions[_INDEX] = index


def _know_the_state(web_ui: WebUI, live: LiveStats) -> None:
    """Locust sets its template's arguments for each page; ours override them."""
    update = web_ui.update_template_args

    def with_ours() -> None:
        update()
        arguments = web_ui.template_args
        arguments["state"] = _shown(arguments["state"], live) or arguments["state"]
        # A host is always set: --base-url has a default.
        arguments["missing_host_warning"] = arguments["override_host_warning"] = False

    web_ui.update_template_args = with_ours  # type: ignore[method-assign]


def _beginning(live: LiveStats, state: str | None) -> bool:
    """Whether a run is being prepared of which Locust's runner, in ``state``, does not know yet."""
    return live.state in GOING and state in ("ready", "stopped")


def _shown(state: str | None, live: LiveStats) -> str | None:
    """The state to report to Locust's page instead of ``state``, None to keep ``state``.

    The page polls only while a run is spawning or running. With the real state it would return to
    the form while a run is prepared, and show "Loading" forever while a run ends.
    """
    if _beginning(live, state):
        return "spawning"
    return "running" if state in _ENDING else None


def _with_state(content: bytes, live: LiveStats) -> bytes:
    """Locust caches this response for two seconds."""
    report = orjson.loads(content)
    report["state"] = _shown(report.get("state"), live) or report.get("state")
    return orjson.dumps(report)


def _with_script(page: bytes, live: LiveStats) -> bytes:
    at = page.rfind(b"</body>")
    locusts = b"window.templateArgs" in page
    return page[:at] + _SCRIPT + page[at:] if locusts and at >= 0 else page


def _started(answer: bytes, live: LiveStats) -> bytes:
    if orjson.loads(answer).get("success"):
        live.preparing()
    return answer


#: Locust's routes whose responses we extend.
_EXTENDED: dict[str | None, Callable[[bytes, LiveStats], bytes]] = {
    "locust.request_stats": _with_state,
    _INDEX: _with_script,
    SWARM: _started,
}
