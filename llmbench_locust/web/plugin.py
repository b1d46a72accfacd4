"""What we add to Locust's web UI: the start form, the page /llm with its JSON, downloads, /metrics.

Every route only reads and requires Locust's login if that is on. Untrusted text (model names,
errors) is sent as JSON or through a template that escapes it, and is inserted into pages as text
only. Our own pages allow no script but ours.
"""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from socket import AF_INET, AF_INET6

import gevent
import orjson
from flask import Blueprint, Response, make_response, request, send_file, send_from_directory
from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined
from locust.runners import MasterRunner

from llmbench_locust.errors import SetupError
from llmbench_locust.experiments.report import capacity_page
from llmbench_locust.json_types import Json
from llmbench_locust.locust_seam import form_options
from llmbench_locust.locust_types import Environment, WebUI
from llmbench_locust.options.table import FLAGS
from llmbench_locust.redact import without_user
from llmbench_locust.web import locust_page
from llmbench_locust.web.form import given_by, start_form
from llmbench_locust.web.history import DOWNLOADS, History, Kept, differences, file_name
from llmbench_locust.web.prometheus import registry_of
from llmbench_locust.web.results import Bench
from llmbench_locust.web.start_form import install_check, plan_of

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Templates(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: "
    "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def install_web(environment: Environment, bench: Bench) -> None:
    """Add our part to ``environment.web_ui``; call it once, before the web server starts (in
    Locust's `init` event).
    """
    web_ui = environment.web_ui
    base = (getattr(environment.parsed_options, "web_base_path", None) or "").rstrip("/")
    rows = form_options()
    if "base_url" in rows:
        rows["base_url"]["default_value"] = without_user(rows["base_url"]["default_value"] or "")
    others = {name: row for name, row in rows.items() if name not in FLAGS}
    Pages(web_ui, bench, others).register(base or None)
    install_check(web_ui, bench, others)


def check_port(web_ui: WebUI | None) -> None:
    """Raises SetupError if the page's port is in use: Locust would show a traceback."""
    assert web_ui is not None
    host, port = web_ui.host, web_ui.port
    try:
        socket.create_server((host, port), family=AF_INET6 if ":" in host else AF_INET).close()
    except OSError as e:
        where = f"{host or '0.0.0.0'}:{port}"
        raise SetupError(f"--web-port: {where} cannot be opened: {e.strerror}") from None


class Pages:
    def __init__(self, web_ui: WebUI, bench: Bench, others: dict[str, Json]) -> None:
        self._web_ui, self._bench, self._live = web_ui, bench, bench.live
        self._history = History(bench.live, lambda: bench.report)
        self._given = given_by(vars(web_ui.environment.parsed_options))
        self._others = others
        self._routes = Blueprint("llmbench", __name__)

    def register(self, prefix: str | None) -> None:
        locust_page.install(self._web_ui, self._bench, self._front)
        self._add_pages()
        self._add_runs()
        self._add_capacity()
        self._add_metrics()
        self._routes.after_request(_secure)
        self._web_ui.app.register_blueprint(self._routes, url_prefix=prefix)

    def _front(self) -> Response:
        bench = self._bench
        form = start_form(
            vars(self._web_ui.environment.parsed_options),
            self._others,
            given=self._given,
            fixed=bench.fixed,
            first=self._live.run == 0,
            open_loop=bench.open_loop,
        )
        return _page("start.html", form=form, runs=self._history.titles())

    def _add_pages(self) -> None:
        """Routes that do not depend on a run."""
        routes, protected = self._routes, self._web_ui.auth_required_if_enabled

        @routes.get("/llm")
        @protected
        def page() -> Response:
            runner = self._web_ui.environment.runner
            return _page("llm.html", workers=isinstance(runner, MasterRunner))

        @routes.get("/llm/static/<path:name>")
        @protected
        def static(name: str) -> Response:
            return send_from_directory(STATIC, name, max_age=0)

        @routes.get("/llm/plotly.min.js")
        @protected
        def plotly() -> Response:
            return send_file(plotly_path(), mimetype="text/javascript", max_age=86_400)

        @routes.post("/llm/plan")
        @protected
        def plan() -> Response:
            good, line = plan_of(self._bench)
            return _json({"good": good, "line": line})

    def _add_runs(self) -> None:
        """The current run; with ?run=N an earlier one."""
        routes, protected = self._routes, self._web_ui.auth_required_if_enabled
        live, history = self._live, self._history

        @routes.get("/llm/stats")
        @protected
        def stats() -> Response:
            asked = request.args.get("run", type=int)
            run = live.run if asked is None else asked
            # A run that is being prepared or cannot begin has no number yet.
            if asked is not None and run in history:
                shot = orjson.loads(history[run].shot)
            elif run == live.run:
                shot = live.snapshot(request.args.get("since", 0, type=int))
            else:
                return _gone(run)
            downloads = history[run].downloads if run in history else []
            search = live.experiment["text"].partition("   ")[0] if live.experiment else ""
            more = {"downloads": downloads, "runs": history.titles(), "now": live.run}
            more["search"] = search.splitlines()[0] if search else ""
            return _json(shot | more)

        @routes.get("/llm/differences")
        @protected
        def compared() -> Response:
            numbers = [request.args.get(name, 0, type=int) for name in ("compare", "run")]
            for run in numbers:
                if run not in history:
                    return _gone(run)
            found = differences(*(history[run].document for run in numbers))
            return _json(found)

        @routes.get(f"/llm/<any({','.join(map(repr, DOWNLOADS))}):name>")
        @protected
        def download(name: str) -> Response:
            run = request.args.get("run", live.run, type=int)
            if run not in history:
                return _text("No run has finished yet: there is nothing to download.", 404)
            if name not in history[run].downloads:
                return _text(f"The requests of run {run} are no longer kept.", 410)
            return _file(history[run], name)

    def _add_capacity(self) -> None:
        routes, protected = self._routes, self._web_ui.auth_required_if_enabled
        live = self._live

        @routes.get("/llm/capacity")
        @protected
        def capacity() -> Response:
            """The probes of a search so far and its result; the page reloads itself until then."""
            if live.experiment is None:
                return Response("No capacity search has a probe yet.", status=404)
            if request.args.get("format") == "json":
                return _json(live.experiment)
            found = capacity_page(live.experiment, live.experiment["text"])
            headers = {"Refresh": "5"} if live.experiment["going_on"] else {}
            return Response(found, headers=headers, content_type="text/html")

    def _add_metrics(self) -> None:
        registry = registry_of(self._live)

        @self._routes.get("/metrics")
        @self._web_ui.auth_required_if_enabled
        def metrics() -> Response:
            from prometheus_client.exposition import choose_encoder

            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            return Response(encode(registry), content_type=content_type)


def _page(template: str, **values: object) -> Response:
    text = _TEMPLATES.get_template(template).render(**values)
    return Response(text, headers={"Content-Security-Policy": _POLICY}, content_type="text/html")


def _file(kept: Kept, name: str) -> Response:
    # In a thread, so that the page stays responsive: a large table takes seconds.
    content = gevent.get_hub().threadpool.apply(kept.content, (name,))
    response = Response(content, content_type=DOWNLOADS[name].kind)
    attachment = f'attachment; filename="{file_name(kept.document, name)}"'
    response.headers["Content-Disposition"] = attachment
    return response


def _secure(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), content_type="application/json")


def _gone(run: int) -> Response:
    return _text(f"Run {run} is not among the last runs of this process.", 404)


def _text(message: str, status: int) -> Response:
    response = make_response(message, status)
    response.content_type = "text/plain; charset=utf-8"
    return response


def plotly_path() -> Path:
    """plotly.min.js of the installed package, found without an import. Raises FileNotFoundError."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package plotly is not installed")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"
