"""Checks whether the model hub is reachable, before its libraries are used.

Offline, they retry each file for half a minute and log a warning each time.
"""

from __future__ import annotations

import os
import sys
import threading

from llmbench_locust.errors import cause_of

#: Timeout for the hub, in seconds.
ANSWER_S = 4.0


def offline() -> str:
    """Why the hub is unavailable, "" if it is not. If it is, its libraries use only their cache."""
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
    """Why ``url`` did not answer, "" if it did.

    Runs in a thread to bound the time: libraries restart their timeout for each address of a host.
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
