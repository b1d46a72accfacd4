"""Stores calibrations of this machine, which results quote."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object

NAME = "calibration.json"


def path() -> Path:
    """The file with the calibrations in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "llmbench-locust" / NAME


def keep(found: Json) -> Path:
    """Store a calibration, replacing one with as many ``processes``. Raises OSError."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    others = _all()
    others[_key(found["processes"])] = found
    new = target.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(others, indent=1))
    new.replace(target)
    return target


def kept(processes: int) -> Json | None:
    """This machine's calibration with as many processes; None if there is none."""
    found: Json | None = _all().get(_key(processes))
    return found


def _key(processes: int) -> str:
    """Unique by machine and cores: machines may share a home directory."""
    return f"{socket.gethostname()}, {len(os.sched_getaffinity(0))} cores, {processes} processes"


def _all() -> Json:
    try:
        return as_object(json.loads(path().read_text()))
    except (OSError, ValueError):
        return {}
