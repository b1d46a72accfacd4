"""The start form as data."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench_locust.options.table import FLAGS
from llmbench_locust.options.values import Default, show
from llmbench_locust.web.form import _LEFT_OUT, Field, Form, given_by, start_form


def options(**given: Any) -> dict[str, Any]:
    """As the parser leaves them."""
    found: dict[str, Any] = {}
    for dest, flag in FLAGS.items():
        plain = False if flag.kind == "bool" else None
        found[dest] = plain if flag.default is None else Default(show(flag.default))
        if flag.kind == "bool":
            found[dest] = False
    return found | {"host": None, "num_users": None, "spawn_rate": None, "run_time": None} | given


def fields(form: Form) -> dict[str, Field]:
    """By name; each stands there once."""
    every = [f for group in (*form.essentials, *form.more) for f in group.fields]
    found = {f.name: f for f in every}
    assert len(found) == len(every)
    return found


def form(values: dict[str, Any], **more: Any) -> dict[str, Field]:
    return fields(start_form(values, {}, given=given_by(values), **more))


def test_every_flag_stands_in_the_form_once_with_its_help() -> None:
    found = form(options())
    assert found.keys() == FLAGS.keys() - _LEFT_OUT
    for field in found.values():
        assert field.help
        assert "%%" not in field.help


def test_a_first_run_does_not_send_everything_at_once() -> None:
    first = form(options())
    assert (first["request_rate"].value, first["num_prompts"].value) == ("10", "700")
    given = form(options(request_rate="inf", num_prompts="50"))
    assert given["request_rate"].placeholder == "inf"
    assert (given["request_rate"].value, given["num_prompts"].value) == ("", "50")
    assert given["request_rate"].given
    later = form(options(), first=False)
    assert (later["request_rate"].value, later["num_prompts"].value) == ("", "")


def test_what_the_start_said_stands_there() -> None:
    values = options(backend="vllm", sim=True, model="m", self_timed="true", host="http://h:1")
    found = form(values, fixed={"header_file"})
    assert found["backend"].value == "vllm"
    assert found["sim"].value == "true"
    assert (found["model"].value, found["model"].given) == ("m", True)
    assert found["self_timed"].choices == ("", "true", "false")
    assert found["base_url"].placeholder == "http://h:1"
    assert found["base_url"].given, "no remembered URL takes the place of --host"
    assert found["header_file"].fixed
    assert not found["seed"].given


def test_a_password_in_a_url_does_not_reach_the_page() -> None:
    field = form(options(base_url="http://user:secret@h:1"))["base_url"]
    assert (field.value, field.fixed) == ("http://***@h:1", True)
    field = form(options(base_url="http://u:secret@h:1 http://u:secret@i:1"))["base_url"]
    assert field.value == "http://***@h:1 http://***@i:1"


def test_secrets_are_not_remembered() -> None:
    found = form(options(header="A=***"))
    assert found["header"].kind == "secret"
    for name in ("header", "header_file", "extra_body", "sim_args"):
        assert not found[name].kept


def test_users_with_tasks_of_their_own_have_a_number() -> None:
    found = form(options(num_users=4, run_time=60), open_loop=False)
    assert [found[n].value for n in ("user_count", "spawn_rate", "run_time")] == ["4", "4", "60s"]
    assert "user_count" not in form(options())


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [(True, "check", "true"), (False, "check", ""), ("x", "text", "x"), ([1, 2], "text", "1,2")],
)
def test_flags_of_the_locustfile_come_first(value: Any, kind: str, text: str) -> None:
    row = {"help_text": "Half of it.", "choices": None, "is_secret": False}
    found = start_form(options(own=value), {"own": row})
    assert found.more[0].title == "locustfile"
    (field,) = found.more[0].fields
    assert (field.kind, field.value, field.help) == (kind, text, "Half of it.")
