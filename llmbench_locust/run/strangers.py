"""A master survives what anyone who reaches its port may send.

Locust's master ends its only listener, and so the run, at a message that does not decode, and ends
with status 2 after one that a handler fails at. The seams are Locust's: `Message.unserialize` and
`MasterRunner.handle_message`.
"""

from __future__ import annotations

import logging
from typing import Any

from locust.rpc.protocol import Message

logger = logging.getLogger(__name__)

#: What a worker that is not known yet may say.
_FIRST_WORDS = ("client_ready", "locustfile")


def drop_malformed(runner: Any) -> None:
    """Drop messages that do not decode, that cannot be handled, and those of nobody's worker. Each
    sender is logged once.
    """
    handle, unserialize = runner.handle_message, Message.unserialize
    logged: set[str] = set()

    def handle_or_drop(sender: str, msg: Message) -> None:
        try:
            if _plausible(runner, sender, msg):
                handle(sender, msg)
                return
            reason = "it is not one that a worker of this run sends"
        except Exception as e:
            reason = repr(e)
        if sender not in logged and len(logged) < 100:
            logged.add(sender)
            logger.warning("a message from %.60r was dropped: %s", sender, reason)

    def decode(data: bytes) -> Message:
        try:
            return unserialize(data)
        except Exception:
            return Message("malformed", None, "")

    runner.handle_message = handle_or_drop
    Message.unserialize = decode


def _plausible(runner: Any, sender: str, msg: Message) -> bool:
    if sender not in runner.clients:
        return msg.type in _FIRST_WORDS
    return msg.type != "malformed" and (msg.type != "stats" or isinstance(msg.data, dict))
