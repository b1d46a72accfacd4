"""Locust with its real web UI as a process, and a real Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.commands import MOST_S, free_port

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "locustfiles" / "serve.py"
SYNTHETIC = Path(__file__).parent / "synthetic.py"
#: What keeps Chromium from the network and from this user's profile.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKENIZER = ROOT / "llmbench_locust" / "data" / "tokenizer"
SHORT = ["--tokenizer", str(TOKENIZER), "--random-input-len", "16", "--random-output-len", "12"]


class Web:
    """A Locust process with a web UI at ``url``; ``workers`` more processes take part."""

    def __init__(
        self, directory: Path, locustfile: Path, args: list[str], env: dict[str, str], workers: int
    ) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = directory / "locust.log"
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        ui = [
            "-f",
            str(locustfile),
            "--web-host",
            "127.0.0.1",
            "--web-port",
            self.url.rpartition(":")[2],
            *args,
        ]
        if workers:
            bind = str(free_port())
            self._spawn(
                [*ui, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind]
            )
            for _ in range(workers):
                self._spawn(
                    [
                        "-f",
                        str(locustfile),
                        "--worker",
                        "--master-host",
                        "127.0.0.1",
                        "--master-port",
                        bind,
                    ]
                )
        else:
            self._spawn(ui)
        self._wait(workers)

    def _spawn(self, args: list[str]) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "locust", *args],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._env,
                cwd=self._directory,
            )
        self._processes.append(process)

    def _wait(self, workers: int) -> None:
        deadline = time.monotonic() + MOST_S
        while time.monotonic() < deadline:
            try:
                if (
                    not workers
                    or requests.get(f"{self.url}/worker-count", timeout=60).json()["worker_count"]
                    == workers
                ):
                    requests.get(f"{self.url}/login", timeout=60)
                    return
            except (requests.ConnectionError, requests.Timeout):
                pass
            assert all(p.poll() is None for p in self._processes), self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(f"Locust did not come up: {self.log.read_text()}")

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """``web(locustfile, *args, env={}, workers=0)`` starts Locust; it ends with the test."""
    started: list[Web] = []

    def start(
        locustfile: Path, *args: str, env: dict[str, str] | None = None, workers: int = 0
    ) -> Web:
        started.append(Web(tmp_path, locustfile, list(args), env or {}, workers))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium for all tests, with an empty profile."""
    from playwright.sync_api import sync_playwright

    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        (pytest.fail if os.environ.get("CHROMIUM_REQUIRED") else pytest.skip)(
            "needs Chromium: apt-get install chromium"
        )
    downloads = tmp_path_factory.mktemp("downloads")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, headless=True, args=QUIET, downloads_path=downloads
        )
        yield running
        running.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A context of its own for each test: no cookies, nothing stored. See `problems` for the errors
    of its pages.
    """
    context = chromium.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Keeps screenshots where SCREENSHOTS names a directory, to be looked at."""

    def shoot(page: Any, name: str) -> None:
        if directory := os.environ.get("SCREENSHOTS"):
            page.screenshot(
                path=Path(directory) / f"{request.node.name}-{name}.png", full_page=True
            )

    return shoot


def problems(page: Any) -> list[str]:
    """Collects the page's errors from now on: exceptions, and what the console calls an error."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "console", lambda message: found.append(message.text) if message.type == "error" else None
    )
    return found
