"""The pictures of README and docs, made anew: ``python docs/pictures.py``.

Runs the web UI and a report against the simulator in a headless Chromium. Needs playwright,
Pillow and Debian's chromium.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import requests
from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "pictures"
SERVE = ("--sim", "--tokenizer", "llmbench", "--random-input-len", "256", "--request-rate", "30")
OBJECTIVES = ("--goodput", "ttft:60", "tpot:9")
RUN = (sys.executable, "-m", "llmbench_locust")


def web_page(browser: object, folder: Path) -> None:
    """The live page in the middle of a run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*RUN, "ui", *SERVE, *OBJECTIVES, "--num-prompts", "900", "--web-port", str(port)]
    command += ["--web-host", "127.0.0.1", "--autostart", "--autoquit", "1"]
    ui = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(url):
            time.sleep(0.2)
        page = browser.new_page(viewport={"width": 1280, "height": 860})  # type: ignore[attr-defined]
        page.goto(f"{url}/llm")
        page.wait_for_timeout(18_000)
        _take(page, "live.png")
    finally:
        ui.terminate()
        ui.wait(30)


def report(browser: object, folder: Path) -> None:
    """The first screen of the HTML report."""
    command = [*RUN, "serve", *SERVE, *OBJECTIVES, "--num-prompts", "700", "--disable-tqdm"]
    subprocess.run([*command, "--html", "report.html"], cwd=folder, check=True)
    page = browser.new_page(viewport={"width": 1280, "height": 860})  # type: ignore[attr-defined]
    page.goto((folder / "report.html").as_uri())
    page.wait_for_timeout(3000)
    _take(page, "report.png")


def _take(page: object, name: str) -> None:
    """A palette of 128 colours makes the file a third as large."""
    taken = Image.open(BytesIO(page.screenshot()))  # type: ignore[attr-defined]
    taken.convert("RGB").quantize(128).save(PICTURES / name, optimize=True)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        web_page(browser, Path(folder))
        report(browser, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
