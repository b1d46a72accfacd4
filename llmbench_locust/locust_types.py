"""Types of the parts of Locust that we use, which Locust itself does not type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmbench_locust.json_types import Json

if TYPE_CHECKING:
    from argparse import Namespace

    from flask import Flask

View = TypeVar("View", bound=Callable[..., Any])


class Runner(Protocol):
    state: str | None


class Environment(Protocol):
    host: str | None
    parsed_options: Namespace

    @property
    def runner(self) -> Runner: ...

    @property
    def web_ui(self) -> WebUI: ...


class WebUI(Protocol):
    app: Flask
    host: str
    port: int
    template_args: Json
    userclass_picker_is_active: bool

    @property
    def environment(self) -> Environment: ...

    def auth_required_if_enabled(self, view: View) -> View:
        """The view, which requires Locust's login if that is on."""

    def update_template_args(self) -> None:
        """Fill in `template_args` for Locust's page."""

    def stop(self) -> None:
        """Close the page's port."""
