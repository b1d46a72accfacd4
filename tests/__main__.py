"""``python -m tests [options of pytest]``: the tests in several pytest processes at once.

Most tests wait for servers and for processes of Locust. Two pytests more than there are cores
keep all cores busy. Each prints its output when it has ended; the exit status is 1 if any failed.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

# The parts that take longest come first, and are shared out by file.
BY_FILE = ("cluster", "web", "e2e", "cli", "workload", "options")
# These say what a client does that nothing disturbs: one after the other, when the rest is done.
ALONE = ("e2e/test_audit.py",)
NOTHING_COLLECTED = 5


def parts() -> list[str]:
    """Paths for pytest that together hold every test."""
    tests = Path(__file__).parent
    files = [str(file) for name in BY_FILE for file in sorted((tests / name).glob("test_*.py"))]
    folders = {file.parent for file in tests.glob("*/test_*.py")}
    rest = sorted(str(folder) for folder in folders if folder.name not in BY_FILE)
    return files + rest + [str(file) for file in tests.glob("test_*.py")]


def run(part: str, options: list[str]) -> int:
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *options, part]
    done = subprocess.run(command, capture_output=True, text=True)
    passed = done.returncode in (0, NOTHING_COLLECTED)
    lines = done.stdout.strip().splitlines()
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    shown = [*skipped, lines[-1]] if passed else [done.stdout, done.stderr]
    seconds = time.monotonic() - began
    print(f"{os.path.relpath(part)} ({seconds:.0f} s):", *shown, sep="\n  ", flush=True)
    return 0 if passed else 1


def main(options: list[str]) -> int:
    alone = [str(Path(__file__).parent / name) for name in ALONE]
    with ThreadPoolExecutor((os.cpu_count() or 1) + 2) as pool:
        runs = [pool.submit(run, part, options) for part in parts() if part not in alone]
        failed = max(done.result() for done in as_completed(runs))
    return max([failed, *(run(part, options) for part in alone)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
