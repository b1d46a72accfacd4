"""``python -m tests [options of pytest]``: the tests in several pytest processes at once.

Most tests wait for servers and for processes of Locust. Two pytests more than there are cores keep
all cores busy. Each prints its output when it has ended. A test that failed runs once more when
nothing else does; the last lines name it, and the exit status is 1 unless it passed then.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

# Folders whose tests start many processes: each file is a part. Elsewhere the folder is.
BY_FILE = ("cluster", "e2e", "web")
# These take longest, so they come first.
FIRST = (
    *("web/test_browser.py", "cluster/test_cluster.py", "e2e/test_signals.py", "workload", "docs"),
    *(
        "transport",
        "web/test_routes.py",
        "e2e/test_validity.py",
        "e2e/test_serve.py",
        "experiments",
        "cli",
    ),
    *("e2e/test_own_tasks.py", "e2e/test_ready.py", "options", "simulator"),
)
# These say what a client does that nothing disturbs: one after the other, when the rest is done.
ALONE = ("e2e/test_audit.py",)
FAILED, NOTHING_COLLECTED = 1, 5  # exit statuses of pytest
STOP_EARLY = ("-x", "--exitfirst", "--maxfail", "--sw")  # tests that were not run cannot pass
MOST_AGAIN = 10  # tests of a part: where more fail, it is not the busy machine


def parts() -> list[str]:
    """Paths for pytest, relative to this folder, that together hold every test but `ALONE`."""
    tests = Path(__file__).parent
    files = {file.relative_to(tests) for file in tests.rglob("test_*.py")}
    found = {str(file if str(file.parent) in (".", *BY_FILE) else file.parent) for file in files}
    return [*FIRST, *sorted(found - {*FIRST, *ALONE})]


def run(part: str, options: list[str], cache: Path) -> tuple[int, list[str], bool]:
    """Exit status, 0 if nothing was collected; the tests that failed, which ``cache`` keeps; and
    whether any was skipped.
    """
    began = time.monotonic()
    settings = ["-o", f"cache_dir={cache}", "-p", "no:anyio"]
    path = str(Path(__file__).parent / part)
    command = [sys.executable, "-m", "pytest", "-rs", *settings, *options, path]
    done = subprocess.run(command, capture_output=True, text=True)
    status = 0 if done.returncode == NOTHING_COLLECTED else done.returncode
    lines = done.stdout.strip().splitlines()
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    shown = [done.stdout, done.stderr] if status else [*skipped, lines[-1]]
    seconds = time.monotonic() - began
    print(f"{part} ({seconds:.0f} s):", *shown, sep="\n  ", flush=True)
    failed = cache / "v/cache/lastfailed"
    names = list(json.loads(failed.read_text())) if failed.exists() else []
    return status, names, bool(skipped)


def main(options: list[str]) -> int:
    # Without compiled modules each of hundreds of processes compiles its own.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    passed_again, failed = [], []
    all_ran = not any(option.startswith(STOP_EARLY) for option in options)
    with TemporaryDirectory() as caches:

        def once(part: str, *more: str) -> tuple[int, list[str], bool]:
            return run(part, [*options, *more], Path(caches, part.replace("/", ".")))

        beside = parts()
        with ThreadPoolExecutor((os.cpu_count() or 1) + 2) as pool:
            done = dict(zip(beside, pool.map(once, beside), strict=True))
        done |= {part: once(part) for part in ALONE}
        for part, (status, names, _) in done.items():
            # Where one died no name is known: nothing can be said of a second run.
            if status == FAILED and all_ran and 0 < len(names) <= MOST_AGAIN:
                status, still, skipped = once(part, "--last-failed")
                # One that no longer exists stays in the cache; one that was skipped has not passed.
                still = names if skipped else still
                passed_again += [name for name in names if name not in still]
                names = still
            failed += names or ([part] if status else [])
    for name in passed_again:
        print(f"failed at first, passed again: {name}")
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
