"""What a run's client is."""

from __future__ import annotations

import os
import platform

from llmbench_locust.json_types import Json


def environment_of() -> Json:
    """What the client ran on."""
    from importlib.metadata import version

    names = ("locust", "gevent", "geventhttpclient", "numpy")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in names},
    }
