"""The Locust users: a class for each backend (`BackendInfo.user`), to use as it is or with your own
tasks.
"""

from __future__ import annotations

from types import new_class
from typing import ClassVar

from locust import User

from llmbench_locust.backends import BACKENDS, BackendInfo
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.records import RequestRecord
from llmbench_locust.workload.sample import Prompt, SampleRequest


class BackendUser(User):
    """A user of one backend. ``backend``: its name; None takes ``--backend``.

    With an `ArrivalShape` the user's task is `serve`, which performs tickets when they are due.
    Without one, your own tasks call `complete` (or `chat`): a closed loop with the same records and
    metrics.
    """

    abstract = True
    backend: ClassVar[str | None] = None

    def serve(self) -> None:
        """Perform requests of the plan until the run is over."""
        self.environment.llmbench.agent.attend(self)

    def send(self, sample: SampleRequest) -> RequestRecord:
        """Send one request now and wait for its outcome. Never raises for server errors: check
        ``.success``.
        """
        record: RequestRecord = self.environment.llmbench.agent.perform(sample, self)
        return record

    def complete(
        self,
        prompt: Prompt,
        *,
        max_tokens: int = 128,
        prompt_len: int | None = None,
        label: str | None = None,
        **overrides: JsonValue,
    ) -> RequestRecord:
        """One completion. ``prompt_len``: tokens, if known. ``overrides``: fields of the body."""
        return self.send(
            SampleRequest(
                prompt, prompt_len or 0, max_tokens, label=label, body_overrides=overrides or None
            )
        )


class ChatUser(BackendUser):
    """A user of a backend whose requests hold chat messages."""

    abstract = True

    def chat(
        self,
        messages: str | list[Json],
        *,
        max_tokens: int = 128,
        label: str | None = None,
        **overrides: JsonValue,
    ) -> RequestRecord:
        """One response, whose text is in ``.text``, to a text or to chat messages."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        last = messages[-1].get("content", "") if messages else ""
        prompt = last if isinstance(last, str) else ""
        sample = SampleRequest(
            prompt,
            0,
            max_tokens,
            chat_messages=messages,
            label=label,
            body_overrides=overrides or None,
        )
        return self.send(sample)


def _user_class(info: BackendInfo) -> type[BackendUser]:
    base = ChatUser if info.chat or info.chat_endings else BackendUser
    row = {"abstract": True, "backend": info.name, "__module__": __name__}
    return new_class(info.user, (base,), exec_body=lambda found: found.update(row))


#: The classes of all backends that have one, by class name.
USERS = {info.user: _user_class(info) for info in BACKENDS.values() if info.user}
globals().update(USERS)
