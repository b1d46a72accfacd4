"""What we add to Locust's web UI: a tab on its page, the page /llm with its JSON, downloads,
/metrics, the check of the form.

Every route only reads, and stands behind Locust's own login where that is on. Foreign text (model
names, errors) travels as JSON and is put on a page as text only; our own pages allow no script but
ours.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import gevent
import orjson
from flask import Blueprint, Response, make_response, request, send_file, send_from_directory

from llmbench_locust.experiments.report import capacity_page
from llmbench_locust.json_types import Json
from llmbench_locust.locust_types import Environment, WebUI
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.options.table import GROUPS
from llmbench_locust.web.prometheus import registry_of
from llmbench_locust.web.results import Results
from llmbench_locust.web.start_form import SWARM, install_check
from llmbench_locust.web.table import STRUCTURE, TAB, table_rows

STATIC = Path(__file__).parent / "static"
_SCRIPTS = (
    b'<script src="./llm/static/tab.js" defer></script><script '
    b'src="./llm/static/form.js" defer></script>'
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' "
    "data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
#: Downloads: name of the route under /llm → (title, content type).
DOWNLOADS: dict[str, tuple[str, str]] = {
    "result.json": ("Result JSON", "application/json"),
    "requests.csv": ("Requests CSV", "text/csv; charset=utf-8"),
    "requests.parquet": ("Requests Parquet", "application/vnd.apache.parquet"),
    "report.html": ("HTML report", "text/html; charset=utf-8"),
}


def install_web(
    environment: Environment,
    live: LiveStats,
    results: Callable[[], Results | None],
    check: Callable[[Json], str | None] | None = None,
    cancel: Callable[[], None] | None = None,
) -> None:
    """Add our part to ``environment.web_ui``; call it once, before the web server starts (in
    Locust's `init` event).

    ``results()`` gives the finished run's results, None while there are none. ``check(form)`` gives
    the line that refuses a start form, None when it is right. ``cancel()`` calls off a run that is
    being prepared.
    """
    web_ui = environment.web_ui
    base = (getattr(environment.parsed_options, "web_base_path", None) or "").rstrip("/")
    _add_tab(web_ui, live, cancel)
    web_ui.app.register_blueprint(_routes(web_ui, live, results), url_prefix=base or None)
    if check is not None:
        install_check(web_ui, check)


def _add_tab(web_ui: WebUI, live: LiveStats, cancel: Callable[[], None] | None) -> None:
    arguments = web_ui.template_args
    arguments.setdefault("extended_tabs", []).append(TAB)
    arguments.setdefault("extended_tables", []).append({"key": TAB["key"], "structure": STRUCTURE})
    links = arguments.setdefault("extended_csv_files", [])
    links.append({"href": "./llm", "title": "LLM: live charts"})
    links.append({"href": "./llm/capacity", "title": "LLM: capacity search"})
    links += [
        {"href": f"./llm/{name}", "title": f"LLM: {title}"}
        for name, (title, _) in DOWNLOADS.items()
    ]

    app = web_ui.app

    @app.after_request
    def extend(response: Response) -> Response:
        good = response.status_code == 200
        if good and not response.direct_passthrough and request.endpoint in _EXTENDED:
            response.set_data(_EXTENDED[request.endpoint](response.get_data(), live))
        stopped = good and request.endpoint == "locust.stop"
        if stopped and cancel is not None and _beginning(live, web_ui.environment.runner.state):
            cancel()  # Locust's master stops nothing before its runner has started
        return response


def _beginning(live: LiveStats, state: str | None) -> bool:
    """A run is being prepared, and Locust's runner, in ``state``, knows nothing of it yet."""
    ours = live.state in ("preparing", "waiting", "running")
    return ours and state in ("ready", "stopped")


def _with_rows(content: bytes, live: LiveStats) -> bytes:
    """Locust caches this answer for two seconds: our rows in it are renewed each time."""
    report = orjson.loads(content)
    others = [s for s in report.get("extended_stats", []) if s["key"] != TAB["key"]]
    report["extended_stats"] = [*others, {"key": TAB["key"], "data": table_rows(live.snapshot(-1))}]
    state = report.get("state")
    report["state"] = _shown(state, live) or state
    return orjson.dumps(report)


def _shown(state: str | None, live: LiveStats) -> str | None:
    """The state to tell Locust's page instead of ``state``, None when that may stand.

    The page asks on while a run is spawning or running and never again in any other state: told of
    a run that is being prepared it would go back to the form, and one that is just ending would
    show "Loading" for ever.
    """
    if _beginning(live, state):
        return "spawning"
    return "running" if state in _ENDING else None


def _with_scripts(page: bytes, live: LiveStats) -> bytes:
    page = re.sub(
        rb'"state": "(ready|stopped|stopping|cleanup)"',
        lambda found: _state_in_page(found, live),
        page,
        count=1,
    )
    at = page.rfind(b"</body>")
    return page if at < 0 else page[:at] + _SCRIPTS + page[at:]


def _state_in_page(found: re.Match[bytes], live: LiveStats) -> bytes:
    shown = _shown(found[1].decode(), live)
    return found[0] if shown is None else b'"state": "%s"' % shown.encode()


def _started(answer: bytes, live: LiveStats) -> bytes:
    if orjson.loads(answer).get("success"):
        live.preparing()
    return answer


#: Locust's states between Stop and the last user's end: the master waits for its workers, a process
#: for its users.
_ENDING = ("stopping", "cleanup")

#: Locust's routes whose answers we complete.
_EXTENDED: dict[str | None, Callable[[bytes, LiveStats], bytes]] = {
    "locust.request_stats": _with_rows,
    "locust.index": _with_scripts,
    SWARM: _started,
}


def _routes(web_ui: WebUI, live: LiveStats, results: Callable[[], Results | None]) -> Blueprint:
    routes = Blueprint("llmbench", __name__)
    _add_pages(routes, web_ui)
    _add_data(routes, web_ui, live, results)

    @routes.after_request
    def secure(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return routes


def _add_pages(routes: Blueprint, web_ui: WebUI) -> None:
    """What is the same whatever runs."""
    protected = web_ui.auth_required_if_enabled

    @routes.get("/llm")
    @protected
    def page() -> Response:
        response: Response = send_from_directory(STATIC, "llm.html", max_age=0)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    @routes.get("/llm/static/<path:name>")
    @protected
    def static(name: str) -> Response:
        return send_from_directory(STATIC, name, max_age=0)

    @routes.get("/llm/plotly.min.js")
    @protected
    def plotly() -> Response:
        return send_file(plotly_path(), mimetype="text/javascript", max_age=86_400)

    @routes.get("/llm/flags")
    @protected
    def flags() -> Response:
        return _json({group: [flag.dest for flag in flags] for group, flags in GROUPS.items()})


def _add_data(
    routes: Blueprint, web_ui: WebUI, live: LiveStats, results: Callable[[], Results | None]
) -> None:
    """What tells of the run."""
    protected, registry = web_ui.auth_required_if_enabled, registry_of(live)

    @routes.get("/llm/stats")
    @protected
    def stats() -> Response:
        snapshot = live.snapshot(request.args.get("since", 0, type=int))
        done = results() if live.state == "finished" else None
        there = done is not None and done.document is not None
        return _json(snapshot | {"downloads": list(DOWNLOADS) if there else []})

    @routes.get("/llm/capacity")
    @protected
    def capacity() -> Response:
        """The probes of a search so far and its answer; the page renews itself."""
        if live.experiment is None:
            return Response("No capacity search has a probe yet.", status=404)
        if request.args.get("format") == "json":
            return Response(orjson.dumps(live.experiment), content_type="application/json")
        found = capacity_page(live.experiment, live.experiment["text"])
        return Response(found, headers={"Refresh": "5"}, content_type="text/html")

    @routes.get("/metrics")
    @protected
    def metrics() -> Response:
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    @routes.get("/llm/<any('result.json','requests.csv','requests.parquet','report.html'):name>")
    @protected
    def download(name: str) -> Response:
        done = results()
        if done is None or done.document is None:
            return _text("No run has finished yet: there is nothing to download.", 404)
        # In a thread: a large table takes seconds, and the page stays alive.
        content = gevent.get_hub().threadpool.apply(content_of, (done, name))
        response = Response(content, content_type=DOWNLOADS[name][1])
        attachment = f'attachment; filename="{file_name(done.document, name)}"'
        response.headers["Content-Disposition"] = attachment
        return response


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), content_type="application/json")


def plotly_path() -> Path:
    """plotly.min.js of the installed package, found without an import. Raises FileNotFoundError."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package plotly is not installed")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def content_of(done: Results, name: str) -> bytes | str:
    """One download's content. ``name``: a key of `DOWNLOADS`."""
    if name == "result.json":
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(done.document, option=options)
    if name == "requests.csv":
        return done.table_csv()
    if name == "requests.parquet":
        return done.table_parquet()
    return done.report_html()


def file_name(document: Json, name: str) -> str:
    """A file name that tells runs apart: backend, model and date, in plain characters."""
    stem, _, extension = name.partition(".")
    model = str(document.get("model_id") or "").rsplit("/", 1)[-1]
    backend, date = document.get("backend") or "llmbench", document.get("date") or ""
    parts = [str(backend), model, str(date), stem]
    plain = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", p).strip("._-") for p in parts if p)
    return f"{re.sub(r'-+', '-', plain)[:150]}.{extension}"


def _text(message: str, status: int) -> Response:
    response = make_response(message, status)
    response.content_type = "text/plain; charset=utf-8"
    return response
