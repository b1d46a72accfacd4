"""Our flags in ``locust --help``.

Locust prints its help before it imports a locustfile, so that what a locustfile adds is never in
it. But the first thing that Locust does is to let gevent patch the process, and gevent tells its
plug-ins so (the entry point ``gevent.plugins.monkey.did_patch_all``). From there we wait for the
import of Locust's main module, by when its events exist, and listen to the one that adds flags.
Nothing of this happens unless help is asked for, nor for a locustfile that does not use this
package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def on_patched(event: object) -> None:
    """gevent calls this in every process that it patches, so it must cost nothing."""
    if any(isinstance(finder, _AtImportOfMain) for finder in sys.meta_path):
        return
    if _help_wanted(sys.argv[1:]) and _ours(_locustfiles(sys.argv[1:])):
        sys.meta_path.insert(0, _AtImportOfMain())


class _AtImportOfMain(MetaPathFinder):
    """Finds nothing; it only learns that Locust is ready."""

    _done = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "locust.main" and not self._done:
            self._done = True
            import locust

            from llmbench_locust.options.flags import add_flags

            locust.events.init_command_line_parser.add_listener(
                lambda parser, **_: add_flags(parser)
            )
        return None


def _help_wanted(argv: Sequence[str]) -> bool:
    return "--help" in argv or "-h" in argv


def _locustfiles(argv: Sequence[str]) -> list[str]:
    """The values of -f and --locustfile in any of their forms, else Locust's default."""
    found = os.environ.get("LOCUST_LOCUSTFILE", "locustfile.py")
    for i, word in enumerate(argv):
        if word in ("-f", "--locustfile") and i + 1 < len(argv):
            found = argv[i + 1]
        elif word.startswith("--locustfile="):
            found = word.partition("=")[2]
        elif word.startswith("-f") and len(word) > 2:
            found = word[2:]
    return [name.strip() for name in found.split(",")]


def _ours(locustfiles: Sequence[str]) -> bool:
    """Whether one of them names this package, or none can be read here."""
    texts = []
    for name in locustfiles:
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        except OSError:
            continue
    return not texts or any("llmbench_locust" in text for text in texts)
