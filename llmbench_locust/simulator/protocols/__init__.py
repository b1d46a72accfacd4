"""Which path speaks which protocol."""

from __future__ import annotations

from llmbench_locust.simulator.protocols.base import Script
from llmbench_locust.simulator.protocols.chat import Chat
from llmbench_locust.simulator.protocols.completions import Completions

ROUTES: dict[str, type[Script]] = {
    "/v1/completions": Completions,
    "/v1/chat/completions": Chat,
}
