"""Rejects a bad value in the start form with the console's message, before Locust uses any value.

Locust's own /swarm answers 500 to values that it cannot convert; the page then says "An unknown
error occurred". So the form is checked first and rejected in the format of Locust's own errors,
which its page and ours display.
"""

from __future__ import annotations

from collections.abc import Collection

from flask import Response, jsonify, request

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.locust_types import WebUI
from llmbench_locust.options.table import FLAGS
from llmbench_locust.web.results import Bench

SWARM = "locust.swarm"
#: Options in Locust's own start form.
_LOCUSTS_FORM = {"host", "profile", "run_time", "spawn_rate", "user_classes"}


def form_values() -> Json:
    """The form of this request: a text for each field, a list for a repeated field."""
    return {
        name: values[0] if len(values) == 1 else values for name, values in request.form.lists()
    }


def plan_of(bench: Bench) -> tuple[bool, str]:
    """Whether the form of this request is valid, and what it would run or what is wrong."""
    try:
        return True, bench.plan(form_values())
    except ConfigError as e:
        return False, str(e)


def install_check(web_ui: WebUI, bench: Bench, others: Collection[str]) -> None:
    """Reject forms that ``bench`` rejects. ``others``: flags that a locustfile added.

    Locust would accept any of its options from a form, even files that it writes at exit.
    """
    app, protected = web_ui.app, web_ui.auth_required_if_enabled
    options = vars(web_ui.environment.parsed_options)
    closed = options.keys() - FLAGS.keys() - set(others) - _LOCUSTS_FORM

    @protected
    def refuse() -> Response | None:
        good, line = plan_of(bench)
        for name in sorted(closed.intersection(request.form)):
            good, line = False, f"{name}: can be set only when llmbench is started"
        if good and not bench.until_ended():
            good, line = False, "the last run has not ended yet; try again in a minute"
        if good:
            return None
        return jsonify({"success": False, "message": line, "host": web_ui.environment.host})

    @app.before_request
    def check_start_form() -> Response | None:
        if request.endpoint == SWARM and request.method == "POST":
            return refuse()
        return None
