"""Renders chat templates like transformers: sandboxed jinja with its additions."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from llmbench_locust.errors import ConfigError, first_line
from llmbench_locust.json_types import Json
from llmbench_locust.workload.tokenizer import Messages

if TYPE_CHECKING:
    from jinja2 import Template

WITHOUT_TEMPLATE = "use --skip-chat-template to send prompts without a template"
#: The special tokens that a template may use.
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
NAMED = tuple(f"{role}_token" for role in _ROLES)


def render_chat_template(
    template: str, messages: Messages, config: Json, add_generation_prompt: bool, more: Json
) -> str:
    """The conversation as one text. Raises ConfigError if the template fails."""
    from jinja2 import TemplateError

    tokens = {name: content_of(config.get(name)) for name in NAMED if config.get(name)}
    try:
        return str(
            _compiled(template).render(
                messages=messages, add_generation_prompt=add_generation_prompt, **{**tokens, **more}
            )
        )
    except TemplateError as e:
        raise ConfigError(
            f"--tokenizer: its chat template fails ({first_line(e)}); {WITHOUT_TEMPLATE}"
        ) from None


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    """Cached: compiling takes 2 ms, and a workload renders thousands of prompts."""
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def content_of(token: object) -> str | None:
    """The text of a special token, which files give as a string or an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
