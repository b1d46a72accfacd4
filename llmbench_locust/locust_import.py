"""Imports Locust in half the time, by skipping what a run does not need. Part of the seam
(`locust_seam` itself imports Locust); the contract tests are in tests/test_locust_seam.py.

* gevent looks for plug-ins at each of 25 steps of patching the standard library, and each time
  `importlib.metadata` reads every installed package: 0.1 s with 100 packages.
* Flask and Jinja are for the web page and the HTML report, which a headless run lacks: 0.1 s.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from types import ModuleType

from llmbench_locust.entry_points import entry_points

#: Modules of Locust whose import is deferred to the first call of one of these functions.
_LATE = {"locust.web": ("WebUI",), "locust.html": ("get_html_report", "process_html_filename")}


@contextmanager
def uncollected() -> Iterator[None]:
    """Freeze what is imported in here: it is permanent, and scanning it for garbage repeatedly
    would take a tenth of the time to the first request, and more before the run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def import_locust() -> None:
    """Import `locust.main`, and with it let gevent patch the standard library."""
    if "locust" in sys.modules:
        import_module("locust.main")
        return
    entry_points("")  # scans the packages, now that it can
    asked = metadata.entry_points
    vars(metadata)["entry_points"] = entry_points
    for name, functions in _LATE.items():
        sys.modules[name] = late = ModuleType(name)
        for function in functions:
            setattr(late, function, _imported_at_first_call(name, function))
    try:
        import_module("locust.main")
    finally:
        vars(metadata)["entry_points"] = asked


def _imported_at_first_call(module: str, function: str) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        for name in _LATE:
            if not hasattr(sys.modules.get(name), "__file__"):
                sys.modules.pop(name, None)
        return getattr(import_module(module), function)(*args, **kwargs)

    return call
