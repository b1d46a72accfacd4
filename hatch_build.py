"""Builds the compiled reader where there is a C compiler; where there is none, the package works
without it (the reader in Python).
"""

from __future__ import annotations

import compileall
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("llmbench_locust/transport/_native.c")


class NativeReaderHook(BuildHookInterface):
    """CFLAGS counts. LLMBENCH_BUILD_NATIVE=0 leaves it out. An editable installation has its
    bytecode from the start.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if version == "editable":  # what stays where it is, pip does not compile
            compileall.compile_dir(Path(self.root) / SOURCE.parts[0], quiet=2)
        if os.environ.get("LLMBENCH_BUILD_NATIVE") == "0":
            return
        built = self._compile(Path(self.root) / SOURCE)
        if built is None:
            return
        build_data["artifacts"].append(str(SOURCE.with_name(built.name)))
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"
        build_data["pure_python"] = False

    def _compile(self, source: Path) -> Path | None:
        if not sys.platform.startswith("linux") or sys.implementation.name != "cpython":
            return None
        out = source.with_name("_native.abi3.so")
        fresh = out.with_suffix(f".{os.getpid()}")  # a process may have the old one open
        flags = ["-O2", "-fPIC", "-shared", *shlex.split(os.environ.get("CFLAGS", ""))]
        include = sysconfig.get_path("include")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *flags, f"-I{include}", str(source), "-o", str(fresh)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or str(error)
            self.app.display_warning(f"The compiled reader was not built: {why.strip()[:500]}")
            out.unlink(missing_ok=True)  # what is left of another build is another version
            return None
        fresh.replace(out)
        return out
