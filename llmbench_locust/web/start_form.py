"""A bad value in the start form gets the console's line, before Locust takes any value over.

Locust's own /swarm converts what it can and answers 500 to the rest; the page then says "An unknown
error occurred". So the form is checked first, and refused in the form of Locust's own refusals,
which the page shows as they are.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, jsonify, request

from llmbench_locust.json_types import Json
from llmbench_locust.locust_types import WebUI

SWARM = "locust.swarm"


def form_values() -> Json:
    """The form of this request: a text for each field, a list where a field came more than once."""
    return {
        name: values[0] if len(values) == 1 else values for name, values in request.form.lists()
    }


def install_check(web_ui: WebUI, check: Callable[[Json], str | None]) -> None:
    """``check(form)`` returns the line that tells what is wrong, None when nothing is."""

    app, protected = web_ui.app, web_ui.auth_required_if_enabled

    @protected
    def refuse() -> Response | None:
        line = check(form_values())
        if line is None:
            return None
        return jsonify({"success": False, "message": line, "host": web_ui.environment.host})

    @app.before_request
    def check_start_form() -> Response | None:
        if request.endpoint == SWARM and request.method == "POST":
            return refuse()
        return None
