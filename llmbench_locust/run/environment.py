"""The environment of the client: versions and machine."""

from __future__ import annotations

import os
import platform
import sys

import gevent
import geventhttpclient
import locust
import numpy as np

from llmbench_locust.json_types import Json


def environment_of() -> Json:
    """What the client ran on."""
    return {
        "python": platform.python_version(),
        "platform": _platform(),
        "cores": os.cpu_count(),
        "locust": locust.__version__,
        "gevent": gevent.__version__,
        "geventhttpclient": geventhttpclient.__version__,
        "numpy": np.__version__,
    }


def _platform() -> str:
    """Like platform.platform(), without starting the program uname, which adds nothing on Linux."""
    if sys.platform != "linux":
        return platform.platform()
    libc = "".join(platform.libc_ver())
    return f"{platform.system()}-{platform.release()}-{platform.machine()}-with-{libc}"
