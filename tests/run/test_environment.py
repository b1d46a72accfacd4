"""What a result says of the client."""

import platform
import subprocess
from importlib.metadata import version

from llmbench_locust.run.environment import environment_of


def test_versions_and_platform_are_told_without_starting_a_program(monkeypatch):
    expected = {
        "platform": platform.platform(),
        **{name: version(name) for name in ("locust", "gevent", "geventhttpclient", "numpy")},
    }
    monkeypatch.setattr(platform, "_uname_cache", None)
    monkeypatch.setattr(platform, "_platform_cache", {})
    monkeypatch.delattr(subprocess, "check_output")
    found = environment_of()
    assert {name: found[name] for name in expected} == expected
