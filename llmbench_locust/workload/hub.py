"""Whether the model hub can be reached; checked before its libraries are used.

Offline, these retry each file for half a minute, and warn with every try.
"""

from __future__ import annotations

import os
import sys
import threading

from llmbench_locust.errors import cause_of

#: Seconds that the hub has to answer.
ANSWER_S = 4.0


def offline() -> str:
    """Why the hub cannot be asked ("" when it can). Its libraries then read their cache only."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES:
            return f"{name} is set"
    reason = _asked(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = bool(reason)
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = bool(reason)
    return reason and f"{constants.ENDPOINT} cannot be reached: {reason}"


def _asked(url: str) -> str:
    """Why ``url`` gave no answer, "" when it gave one.

    A thread bounds the time: a library's time-out counts anew for each address of a host.
    """
    found: list[str] = []

    def ask() -> None:
        import requests

        try:
            status = requests.head(url, timeout=ANSWER_S).status_code
            found.append(f"it answered {status}" if status >= 500 else "")
        except requests.RequestException as e:
            cause = cause_of(e)
            found.append(getattr(cause, "strerror", None) or type(cause).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return found[0] if found else f"timed out after {ANSWER_S:g} s"
