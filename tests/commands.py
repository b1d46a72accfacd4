"""Runs the command as a user does: a real Locust process, a real simulator over a real socket."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVE = ROOT / "locustfiles" / "serve.py"
SMALL = (
    "--random-input-len",
    "16",
    "--random-output-len",
    "8",
    "--disable-tqdm",
    "--tokenizer",
    "llmbench",
)

#: For a process that a test has started: none depends on how fast the machine is.
MOST_S = 150


def free_port():
    """Below those that the kernel gives to connections: one of them could take it before the test
    does.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def command(*argv, locustfile=SERVE, headless=True):
    first = [sys.executable, "-m", "tests.start", "-f", str(locustfile)]
    if "--processes" in argv:
        port = free_port()  # not 5557, where the master of another test may listen
        first += ["--master-bind-port", str(port), "--master-port", str(port)]
    return [*first, *(["--headless"] if headless else []), *map(str, argv)]


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LLMBENCH_", "LOCUST_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **more}


def locust(*argv, timeout=MOST_S, env=None, **options):
    """A whole run: its exit status and what it printed."""
    return subprocess.run(
        command(*argv, **options),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**(env or {})),
        check=False,
    )


def start(*argv, env=None, **options):
    return subprocess.Popen(
        command(*argv, **options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**(env or {})),
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts():
    """As in a terminal: a shell's background jobs, which CI may be, are started deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process, timeout=MOST_S):
    """What it printed; the whole process group is gone afterwards."""
    try:
        output, _ = process.communicate(timeout=timeout)
        return output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextlib.contextmanager
def cluster(workers, *argv, forked=False, **options):
    """A master and its workers, each a process of its own. ``forked``: by one that starts up."""
    port = free_port()
    words = ("--master", "--master-bind-port", port, "--expect-workers", workers)
    master = start(*argv, *words, **options)
    words = ["--worker", "--master-port", port]
    commands = [[*words, "--processes", workers]] if forked else [words] * workers
    crew = [start(*command, headless=False, **options) for command in commands]
    try:
        yield master, crew, port
    finally:
        for process in (*crew, master):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def result(directory):
    """The one result file of a directory."""
    (path,) = [p for p in Path(directory).glob("*.json") if not p.name.endswith(".pytorch.json")]
    return json.loads(path.read_text())


def wait_for(condition, timeout=MOST_S):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about in time")
