"""llmbench-locust: load-test LLM servers with Locust.

Importing a user class or the load shape from here adds our flags, messages and events to Locust.
The names in `_PLAIN` do not need Locust and add nothing to it.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from llmbench_locust._version import __version__
from llmbench_locust.backends import BACKENDS

_USERS = ("BackendUser", *(info.user for info in BACKENDS.values() if info.user))

#: The modules of the names that do not need Locust.
_PLAIN = {
    "BackendInfo": "backends",
    "DatasetInfo": "datasets",
    "Protocol": "users.protocols",
    "RequestRecord": "records",
    "SampleRequest": "workload.sample",
    "TextSink": "users.protocols",
    "register_backend": "backends",
    "register_dataset": "datasets",
    "register_protocol": "users.protocols",
}

__all__ = ["ArrivalShape", "__version__", "install", *_PLAIN, *_USERS]


def __getattr__(name: str) -> Any:
    # Late, so that `llmbench_locust.arrivals` and the simulator start without Locust.
    if name in _PLAIN:
        return getattr(import_module(f"llmbench_locust.{_PLAIN[name]}"), name)
    if name not in __all__:
        raise AttributeError(f"module 'llmbench_locust' has no attribute {name!r}")
    from llmbench_locust.locust_import import uncollected

    # Once: what it freezes is never collected.
    first = f"{__name__}.plugin" not in sys.modules
    with uncollected() if first else nullcontext():
        from llmbench_locust import plugin

    plugin.install()
    if name == "install":
        return plugin.install
    if name == "ArrivalShape":
        from llmbench_locust.shape import ArrivalShape

        return ArrivalShape
    from llmbench_locust.users import user

    return getattr(user, name)
